"""Checks of every plugin: its docstring, its parameters, what it imports."""

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
    """The module's docstring opens with one line of at most 100 characters: it is what `bench list` shows."""
    docstring = ast.get_docstring(ast.parse(file_of(case.plugin).read_text(encoding="utf-8")))
    assert docstring, f"{file_of(case.plugin).name} has no docstring, expected one that says what the plugin does"
    line = docstring.splitlines()[0]
    assert len(line) <= SUMMARY, f"its first line has {len(line)} characters, expected at most {SUMMARY}: {line}"


def parameters_survive_json(case: Case) -> None:
    """The fields go through JSON and build an equal plugin: they are the record and the cache key."""
    values = plugins.resolved(case.plugin)
    again = json.loads(json.dumps(values, allow_nan=False))
    name = type(case.plugin).__name__
    rebuilt = plugins.from_parameters(case.kind, name, type(case.plugin), again)
    assert rebuilt == case.plugin, f"JSON turns {case.plugin} into {rebuilt}"


def presets_build(case: Case) -> None:
    """Every preset has a known name and parameters of the right names and types."""
    name = type(case.plugin).__name__
    for preset in case.plugin.presets:
        values = plugins.parameters(case.kind, name, type(case.plugin), preset=preset)
        plugins.from_parameters(case.kind, name, type(case.plugin), values)


def fits_the_contract(case: Case) -> None:
    """Its class inherits the base of its kind, and every attribute is one that the base declares, of the right type."""
    reason = declarations.complaint(case.kind, type(case.plugin))
    assert not reason, reason


def heavy_libraries_are_imported_late(case: Case) -> None:
    """Heavy libraries are imported inside functions: loading a plugin must be quick."""
    heavy = HEAVY & set(_imports_at_top(file_of(case.plugin)))
    assert not heavy, f"imports {', '.join(sorted(heavy))} at its top, expected inside functions"


def methods_have_type_hints(case: Case) -> None:
    """Every parameter and result of the contract's methods has a type hint, so that a type checker can help."""
    base = declarations.BASES[case.kind]
    for name, method in vars(type(case.plugin)).items():
        if not inspect.isfunction(method) or not hasattr(base, name) or name.startswith("_"):
            continue
        signature = inspect.signature(method)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        if signature.return_annotation is signature.empty:
            bare.append("its result")
        expected = str(inspect.signature(getattr(base, name))).replace("'", "")
        assert not bare, f"{name}: no type hint for {', '.join(bare)}, expected the like of {name}{expected}"


def file_of(plugin: Any) -> Path:
    """The file that defines the plugin's class."""
    return Path(inspect.getfile(type(plugin)))


def _imports_at_top(file: Path) -> Iterator[str]:
    """The packages that importing the file imports: functions are not looked into."""
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
