"""`bench check`: whether a plugin keeps the contract."""

from __future__ import annotations

from cyclopts import App

from bench import plugins
from bench.errors import PluginError
from bench.exits import INCOMPLETE, OK
from bench.vocabulary import Kind

app = App(name="check", help_epilogue="Examples:\n  bench check noise\n  bench check my_defense.py --fast\n")


@app.default
def check(name: str, *, kind: Kind | None = None, fast: bool = False) -> int:
    """Run the conformance kit over a plugin, one line a check.

    Parameters
    ----------
    name
        A plugin by name, or the path of a Python file, or of a folder with `__init__.py`, that holds one.
    kind
        What it is, where the name alone does not tell.
    fast
        Leave out the checks that train.
    """
    return OK if conformance(name, kind, fast=fast) else INCOMPLETE


def conformance(name: str, kind: Kind | None, *, fast: bool) -> bool:
    """Print one line a check; whether all that ran passed."""
    from bench import check as kit

    kind = kind or kind_of(name)
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}
    passed = True
    for each in kit.checks(kind, plugins.build(kind, name, preset="smoke")):
        if fast and each.slow:
            continue
        ended = kit.outcome(each)
        passed = passed and ended.status != "failed"
        reason = f": {ended.reason}" if ended.reason else ""
        print(f"{mark[ended.status]}  {each.name}{reason}", flush=True)
        if ended.status == "failed":
            print(f"      (the rule: {each.meaning})")
    fits = "fits" if passed else "does not fit"
    print(f"{plugins.SINGULAR[kind]} '{name}' {fits} the contract (kit {kit.KIT_VERSION})")
    return passed


def kind_of(name: str) -> Kind:
    """The kind of a plugin by its name alone. Raises `PluginError` where none, or several, have it."""
    own = all(plugins.locate(kind, name).endswith(".py") for kind in plugins.FOLDERS)
    if own:
        fitting = [kind for kind in plugins.FOLDERS if _loads(kind, name)]
    else:
        fitting = [kind for kind in plugins.FOLDERS if name in plugins.names(kind)]
    if len(fitting) > 1:
        raise PluginError(f"'{name}' is in {' and '.join(fitting)}: say which with --kind")
    if not fitting:
        if own:
            raise PluginError(_refusal(name))
        every = [each for kind in plugins.FOLDERS for each in plugins.names(kind)]
        raise PluginError(plugins.unlisted("plugin", name, every))
    return fitting[0]


def _refusal(name: str) -> str:
    """Why a file is a plugin of no kind: what is wrong with the class that it holds, or that it holds none."""
    reasons: list[str] = []
    for kind in plugins.FOLDERS:
        try:
            plugins.load(kind, name)
        except PluginError as error:
            reasons.append(str(error))
    of_a_class = [reason for reason in reasons if not reason.endswith("found: none")]
    if len(of_a_class) in (0, len(plugins.FOLDERS)):  # no class, or nothing that could be imported
        reason = of_a_class[0].replace(plugins.SINGULAR["defenses"], "plugin", 1) if of_a_class else ""
        return reason or (
            f"plugin '{name}' must hold one public class that inherits Defense, Attacker, Adaptation or Dataset; "
            "found: none"
        )
    return of_a_class[0]


def _loads(kind: Kind, name: str) -> bool:
    try:
        plugins.load(kind, name)
    except PluginError:
        return False
    return True
