"""Checks of every plugin: its docstring, its parameters, its imports."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import declarations, plugins
from bench._kit.case import Case

SUMMARY = 100  # characters of the docstring's first line, which is the plugin's row in `bench list`
HEAVY = frozenset({
    "audiocraft", "datasets", "frechet_audio_distance", "librosa", "matplotlib", "music21", "muspy", "pandas", "peft",
    "pesq", "pretty_midi", "pystoi", "ray", "sklearn", "symusic", "torchaudio", "transformers",
})  # fmt: skip


def first_line_fits_a_table(case: Case) -> None:
    """The module's docstring begins with one line of at most 100 characters, which `bench list` shows."""
    docstring = ast.get_docstring(ast.parse(file_of(case.plugin).read_text(encoding="utf-8")))
    assert docstring, f"{file_of(case.plugin).name} has no docstring, expected one that says what the plugin does"
    line = docstring.splitlines()[0]
    assert len(line) <= SUMMARY, f"its first line has {len(line)} characters, expected at most {SUMMARY}: {line}"


def parameters_survive_json(case: Case) -> None:
    """The fields can be written as JSON and build an equal plugin, as records and cache keys require."""
    values = plugins.resolved(case.plugin)
    reloaded = json.loads(json.dumps(values, allow_nan=False))
    name = type(case.plugin).__name__
    rebuilt = plugins.from_parameters(case.kind, name, type(case.plugin), reloaded)
    assert rebuilt == case.plugin, f"after JSON the plugin is {rebuilt}, expected {case.plugin}"


def presets_build(case: Case) -> None:
    """Every preset has a known name, and parameters with known names and valid types."""
    name = type(case.plugin).__name__
    for preset in case.plugin.presets:
        values = plugins.parameters(case.kind, name, type(case.plugin), preset=preset)
        plugins.from_parameters(case.kind, name, type(case.plugin), values)


def fits_the_contract(case: Case) -> None:
    """Its class inherits the base of its kind, and every attribute is declared by the base and of the declared type."""
    reason = declarations.complaint(case.kind, type(case.plugin))
    assert not reason, reason


def heavy_libraries_are_imported_late(case: Case) -> None:
    """Heavy libraries are imported inside functions, so that loading a plugin is fast."""
    heavy = HEAVY & set(_imports_at_top(file_of(case.plugin)))
    assert not heavy, f"the module imports {', '.join(sorted(heavy))} at its top, expected inside functions"


def methods_have_type_hints(case: Case) -> None:
    """Every parameter and result of the contract's methods has a type hint, for type checkers."""
    base = declarations.BASES[case.kind]
    for name, method in vars(type(case.plugin)).items():
        if not inspect.isfunction(method) or not hasattr(base, name) or name.startswith("_"):
            continue
        signature = inspect.signature(method)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        if signature.return_annotation is signature.empty:
            bare.append("its result")
        expected = str(inspect.signature(getattr(base, name))).replace("'", "")
        assert not bare, f"{name}: no type hint for {', '.join(bare)}, expected as in {name}{expected}"


def file_of(plugin: Any) -> Path:
    """Return the file that defines a plugin's class.

    Args:
        plugin: An instance.

    Returns:
        The file.
    """
    return Path(inspect.getfile(type(plugin)))


def _imports_at_top(file: Path) -> Iterator[str]:
    """Yield the packages that are imported when the file is, not inside functions."""
    queue: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not _only_for_types(node):
            queue.extend(ast.iter_child_nodes(node))


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


CHECKS = (
    fits_the_contract,
    first_line_fits_a_table,
    parameters_survive_json,
    presets_build,
    heavy_libraries_are_imported_late,
    methods_have_type_hints,
)
