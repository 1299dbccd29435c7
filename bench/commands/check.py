"""`bench check`: whether a plugin keeps the contract."""

from __future__ import annotations

from cyclopts import App

from bench import plugins, sources
from bench.commands.options import Flag
from bench.errors import PluginError
from bench.exits import INCOMPLETE, OK
from bench.guard import supervised
from bench.vocabulary import Kind

app = App(name="check", help_epilogue="Examples:\n  bench check noise\n  bench check my_defense.py --fast\n")


@app.default
def check(name: str, *, kind: Kind | None = None, fast: Flag = False) -> int:
    """Check that a plugin keeps the contract: run the conformance kit, and print one line per check.

    Parameters
    ----------
    name
        The plugin: a name, or the path of a Python file or of a folder with `__init__.py`.
    kind
        Kind of the plugin; needed only if plugins of two kinds have this name.
    fast
        Skip the checks that train a model.
    """
    return supervised(lambda: OK if conformance(name, kind, fast=fast) else INCOMPLETE)


def conformance(name: str, kind: Kind | None, *, fast: bool) -> bool:
    """Run the conformance kit over a plugin and print one line per check.

    Args:
        name: The plugin: a name or a Python file.
        kind: Its kind; None to find it by the name.
        fast: Skip the checks that train a model.

    Returns:
        Whether no check failed.

    Raises:
        PluginError: The plugin is unknown or cannot be loaded.
    """
    from bench import check as kit

    kind = kind or kind_of(name)
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}
    passed = True
    for each in kit.checks(kind, plugins.build(kind, name, preset="smoke")):
        if fast and each.slow:
            continue
        outcome = kit.outcome(each)
        passed = passed and outcome.status != "failed"
        reason = f": {outcome.reason}" if outcome.reason else ""
        print(f"{mark[outcome.status]}  {each.name}{reason}", flush=True)
        if outcome.status == "failed":
            print(f"      (the rule: {each.meaning})")
    fits = "fits" if passed else "does not fit"
    print(f"{plugins.SINGULAR[kind]} '{name}' {fits} the contract (kit {kit.KIT_VERSION})")
    return passed


def kind_of(name: str) -> Kind:
    """Return the kind of a plugin by its name alone.

    Args:
        name: A name or a Python file.

    Raises:
        PluginError: No kind has such a plugin, or several have.
    """
    is_file = all(plugins.locate(kind, name).endswith(".py") for kind in plugins.FOLDERS)
    if is_file:
        kinds = [kind for kind in plugins.FOLDERS if _loads(kind, name)]
    else:
        kinds = [kind for kind in plugins.FOLDERS if name in plugins.names(kind)]
    if len(kinds) > 1:
        raise PluginError(f"'{name}' is in {' and '.join(kinds)}: say which with --kind")
    if not kinds:
        if is_file:
            raise PluginError(_refusal(name))
        names = [each for kind in plugins.FOLDERS for each in plugins.names(kind)]
        raise PluginError(sources.unlisted("plugin", name, names))
    return kinds[0]


def _refusal(name: str) -> str:
    """Why a file is a plugin of no kind: what does not fit in its class, or that it has none."""
    reasons: list[str] = []
    for kind in plugins.FOLDERS:
        try:
            plugins.load(kind, name)
        except PluginError as error:
            reasons.append(str(error))
    specific = [reason for reason in reasons if not reason.endswith("found: none")]
    if not specific:
        bases = "Defense, Attacker, Adaptation or Dataset"
        return f"plugin '{name}' must hold one public class that inherits {bases}; found: none"
    if len(specific) == len(plugins.FOLDERS):  # the file cannot be imported, so its kind is not known
        return specific[0].replace(plugins.SINGULAR["defenses"], "plugin", 1)
    return specific[0]


def _loads(kind: Kind, name: str) -> bool:
    """Return whether a file holds a plugin of a kind."""
    try:
        plugins.load(kind, name)
    except PluginError:
        return False
    return True
