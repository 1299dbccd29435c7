"""`bench new`: a working plugin and its tests, or a skeleton, to be changed into one's own.

The templates are text in `bench/templates/`, filled by `string.Template`. Where they go: in a checkout of this project
its plugin folders, so that the plugin is known by its name; elsewhere the folder named, where it is known by its path;
or a package of its own with an entry point.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal

from cyclopts import App

from bench import plugins
from bench.commands.options import Flag
from bench.errors import UsageError
from bench.exits import OK

PluginKind = Literal["defense", "attacker", "adaptation", "dataset"]

_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
_KINDS = {singular: kind for kind, singular in plugins.SINGULAR.items()}
_TESTS = {"defense": "defenses", "attacker": "attackers", "adaptation": "attackers/adaptive", "dataset": "datasets"}
_LONGEST = 64  # characters of a name: files, modules and a package are called by it
_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = frozenset({"none", *plugins.SINGULAR.values(), *plugins.SINGULAR})  # words of the command's own
_TRY = {
    "defense": "bench run --defense {0} --attacker musicgen --preset smoke",
    "attacker": "bench run --defense separable --attacker {0} --dataset spoken_words --preset smoke",
    "adaptation": "bench run --defense harmonycloak --attacker musicgen --adapt {0} --preset smoke",
    "dataset": "bench run --defense separable --attacker melcnn --dataset {0} --preset smoke",
}


app = App(
    name="new",
    help_epilogue=(
        "Examples:\n"
        "  bench new defense my_idea\n"
        "  bench new attacker my_attack --folder\n"
        "  bench new adaptation my_filter --bare\n"
        "  bench new defense my_idea --package\n"
    ),
)


@dataclass(frozen=True)
class _Target:
    """The files of a new plugin, and how commands refer to it."""

    plugin: Path
    test: Path  # of the idea; that of the contract lies beside it
    reference: str  # the name or path that commands take
    source: str  # the Python expression by which the test finds it
    extra_files: tuple[tuple[str, Path], ...] = ()  # other templates and where they go
    first: tuple[str, ...] = ()  # commands that must come before all others

    @property
    def card(self) -> Path:
        """Path of a data set's card."""
        named = self.plugin.parent if self.plugin.name == "__init__.py" else self.plugin
        return named.with_suffix(".toml")


@app.default
def new(
    kind: PluginKind,
    name: str,
    *,
    out: Path | None = None,
    package: Flag = False,
    folder: Flag = False,
    bare: Flag = False,
) -> int:
    """Write a new plugin and its tests from a template, and print the next commands.

    Parameters
    ----------
    what
        The kind of plugin.
    name
        Name of the plugin: lower-case letters, digits and _.
    out
        Folder to write to; default: the plugin folder in a checkout of this project, else the current folder.
    package
        Write a package that pip can install, with an entry point, instead of a single file.
    folder
        Write a folder NAME with `__init__.py` instead of a single file: modules and weights may lie beside it.
    bare
        Write an empty skeleton with the contract's tests only, instead of a worked example.
    """
    write_plugin(kind, name, out, package=package, folder=folder, bare=bare)
    return OK


def write_plugin(
    kind: PluginKind, name: str, out: Path | None, *, package: bool = False, folder: bool = False, bare: bool = False
) -> list[Path]:
    """Write a plugin and its tests, and print what was written and the next commands.

    Args:
        kind: the kind of plugin.
        name: its name.
        out: the folder to write to, or None for the usual one.
        package: whether to write a package with an entry point.
        folder: whether to write a folder with `__init__.py`.
        bare: whether to write a skeleton instead of a worked example.

    Returns:
        The files that were written.

    Raises:
        UsageError: for a name that cannot be one or is taken, a file that exists, or a package and a folder at once;
            then nothing is written.
    """
    _require_name(name)
    if package and folder:
        raise UsageError("--package and --folder exclude each other, expected one of them: a package is a folder too")
    target = _package(kind, name, out) if package else _single(kind, name, out, folder=folder)
    template_name = f"{kind}_bare" if bare else kind
    contract = target.test.with_name(f"{target.test.stem}_contract.py")
    templates = [(f"{template_name}.py", target.plugin), ("contract_test.py", contract), *target.extra_files]
    if not bare:
        templates.insert(2, (f"{kind}_test.py", target.test))
    if kind == "dataset":
        templates.append((f"{template_name}.toml", target.card))
    for _, file in templates:
        if file.exists():
            raise UsageError(f"{_shown(file)} exists: give another name, or another folder by --out")
    _require_free(name, package=package)
    words = _words(kind, name, target)
    _write(
        {
            file: Template((_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(words)
            for template, file in templates
        }
    )
    for _, file in templates:
        print(f"wrote {_shown(file)}")
    print("next:")
    plugin_word = shlex.quote(target.reference)
    tests = " ".join(shlex.quote(str(_shown(file))) for template, file in templates if template.endswith("test.py"))
    for command in (
        *target.first,
        f"bench check {plugin_word}",
        f"python -m pytest {tests}",
        _TRY[kind].format(plugin_word),
    ):
        print(f"  {command}")
    return [file for _, file in templates]


def _single(kind: PluginKind, name: str, out: Path | None, *, folder: bool) -> _Target:
    """Return the files of a plugin that is a single file, or a folder."""
    checkout = _checkout(Path.cwd()) if out is None else None
    inside = f"{name}/__init__.py" if folder else f"{name}.py"
    if checkout is not None:
        plugin = checkout / plugins.FOLDERS[_KINDS[kind]] / inside
        return _Target(plugin, checkout / "tests" / _TESTS[kind] / f"test_{name}.py", name, f'"{name}"')
    path = name if folder else inside
    root = out or Path.cwd()
    source = f'str(Path(__file__).with_name("{path}"))'
    return _Target(root / inside, root / f"test_{name}.py", str(_shown(root / path)), source)


def _package(kind: PluginKind, name: str, out: Path | None) -> _Target:
    """Return the files of a plugin in a package of its own."""
    words = _names(kind, name)
    root = (out or Path.cwd()) / words["dist"]
    module = root / "src" / words["package"]
    plugin_word = f"{words['dist']}/{name}"
    return _Target(
        module / f"{name}.py",
        root / "tests" / f"test_{name}.py",
        plugin_word,
        f'"{plugin_word}"',
        (("pyproject.toml", root / "pyproject.toml"), ("init.py", module / "__init__.py")),
        (f"pip install -e {shlex.quote(str(_shown(root)))}",),
    )


def _names(kind: PluginKind, name: str) -> dict[str, str]:
    """Return the names of a plugin, its class and its package."""
    dist = f"cloakbench-{name.replace('_', '-')}"
    return {
        "name": name,
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "kind": kind,
        "kinds": _KINDS[kind],
        "dist": dist,
        "package": dist.replace("-", "_"),
    }


def _words(kind: PluginKind, name: str, target: _Target) -> dict[str, str]:
    """Return the words that the templates are filled with."""
    line = "from pathlib import Path\n" if "Path(" in target.source else ""
    paths = {"path_line": line, "path_import": f"{line}\n" if line else "", "where": target.source}
    return {**_names(kind, name), **paths}


def _require_name(name: str) -> None:
    """Refuse a name that cannot be a plugin's, with a suggestion."""
    if _can_name(name):
        return
    suggestion = (
        re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
        .strip("_")[:_LONGEST]
        .strip("_")
    )
    if not _can_name(suggestion):
        suggestion = f"my_{suggestion or 'idea'}"
    excerpt = ascii(name[:_LONGEST]) + ("..." if len(name) > _LONGEST else "")
    raise UsageError(
        f"{excerpt} cannot name a plugin: expected small letters, digits and _, at most {_LONGEST}, "
        f"such as '{suggestion}'"
    )


def _can_name(word: str) -> bool:
    """Return whether a word can be the name of a plugin."""
    return (
        bool(_PLAIN.fullmatch(word))
        and len(word) <= _LONGEST
        and not word.endswith("_")
        and not keyword.iskeyword(word)
        and word not in _TAKEN
    )


def _require_free(name: str, *, package: bool) -> None:
    """Refuse the name of an existing plugin, since --set and `bench check` go by names, and that of a Python module."""
    for kind, singular in plugins.SINGULAR.items():
        if name in plugins.names(kind):
            raise UsageError(f"{_a(singular)} '{name}' exists already: give another name, such as 'my_{name}'")
    # In a package the module has the package's name before its own and hides nothing.
    if not package and (name in sys.stdlib_module_names or _installed(name)):
        raise UsageError(f"'{name}' is a module of Python's here, which {name}.py would hide: try 'my_{name}'")


def _installed(name: str) -> bool:
    """Return whether Python finds a module of that name outside the current folder."""
    spec = importlib.util.find_spec(name)
    return spec is not None and not (spec.origin and Path(spec.origin).resolve().is_relative_to(Path.cwd()))


def _checkout(folder: Path) -> Path | None:
    """Return the checkout of this project that a folder lies in; None outside one."""
    for root in (folder, *folder.parents):
        if (root / "bench" / "api").is_dir() and (root / "defenses").is_dir() and (root / "pyproject.toml").is_file():
            return root
    return None


def _write(texts: Mapping[Path, str]) -> None:
    """Write all files or none, and never over an existing one."""
    new_files: list[Path] = []
    try:
        for file, text in texts.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                new_files.append(file)
                stream.write(text)
    except OSError as error:
        for path in new_files:
            path.unlink()
        raise UsageError(f"{_shown(file)} cannot be written: {error.strerror}") from error


def _shown(file: Path) -> Path:
    """Return a path relative to the current folder if it lies below it."""
    working_folder = Path.cwd()
    return file.resolve().relative_to(working_folder) if file.resolve().is_relative_to(working_folder) else file


def _a(word: str) -> str:
    """Return a word with its indefinite article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
