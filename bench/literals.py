"""What a plugin's class declares, read from its source without importing it.

A plugin's module imports torch, which takes seconds; its domains, its parameters and its data set are literals in its
class. A question that these answer needs no import. Only the plain case is read: one public class that inherits one
base of the contract, its attributes literals or the module's own names for such. Anything else is left to the import.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Declared", "declared"]

_CONTRACT = "bench.api"
_PLAIN: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


@dataclass(frozen=True)
class Declared:
    """The literals of a plugin's class.

    Attributes:
        fields: Its parameters in order -> their types; None for a type that is no plain number, text or choice.
        attributes: What it sets attributes of the class to, by name; None where that is no literal.
    """

    fields: Mapping[str, Any]
    attributes: Mapping[str, Any]


def declared(file: Path, base: str) -> Declared | None:
    """Read what the plugin of a file declares.

    Args:
        file: Python source.
        base: The name of the base that the plugin's class inherits, such as "Defense".

    Returns:
        The declarations; None where only an import can tell: the file cannot be read or parsed, holds none or several
        such classes, or computes what it declares.
    """
    try:
        module = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if base not in _imported(module) or _has_assigned_attributes(module):
        return None
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    derived = [node for node in classes if node.bases]
    if len(derived) != 1 or [_name(parent) for parent in derived[0].bases] != [base]:
        return None
    return _of_class(derived[0], _Constants(module))


class _Constants(ast.NodeTransformer):
    """Puts the literals that a module's names stand for in their place, `**NAME` in a dictionary too.

    Only names that the module itself sets once, and no function can set.
    """

    def __init__(self, module: ast.Module) -> None:
        settings: Counter[str] = Counter()  # how often each name is set, wherever in the module
        for node in ast.walk(module):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                settings[node.id] += 1
            elif isinstance(node, ast.Global):  # may be set from a function
                settings.update(dict.fromkeys(node.names, 2))
        self.values: dict[str, ast.expr] = {}
        for statement in module.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if settings[name] == 1:
                    self.values[name] = self.visit(value)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for key, value in zip(node.keys, node.values, strict=True):
            visited = self.visit(value)
            whole = key is None and isinstance(visited, ast.Dict)
            keys += visited.keys if whole else [key]
            values += visited.values if whole else [visited]
        return ast.Dict(keys, values)


def _imported(module: ast.Module) -> set[str]:
    """The names that a module imports from the contract under their own names."""
    imports = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == _CONTRACT]
    return {alias.name for node in imports for alias in node.names if alias.asname in (None, alias.name)}


def _has_assigned_attributes(module: ast.Module) -> bool:
    """Whether statements of the module itself set attributes, as `Class.domains = ...` does."""
    return any(isinstance(target, ast.Attribute) for node in module.body for target in _targets(node))


def _of_class(node: ast.ClassDef, constants: _Constants) -> Declared | None:
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list) or node.keywords:
        return None
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.Pass | ast.Expr):
            continue
        targets = list(_targets(statement))
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            return None  # a condition, a loop: what it defines is only known when it runs
        name = targets[0].id
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else "ClassVar"
        if "InitVar" in annotation or "KW_ONLY" in annotation:
            return None
        if isinstance(statement, ast.AnnAssign) and "ClassVar" not in annotation:
            fields[name] = _plain_type(statement.annotation)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            try:
                attributes[name] = ast.literal_eval(constants.visit(statement.value))
            except (ValueError, TypeError):
                attributes[name] = None  # computed
    return Declared(fields, attributes)


def _plain_type(annotation: ast.expr) -> Any:
    """The type that an annotation names, if it is a plain one: `float`, or a `Literal` of constants."""
    if isinstance(annotation, ast.Name):
        return _PLAIN.get(annotation.id)
    if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) not in ("Literal", "typing.Literal"):
        return None
    choices = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if not all(isinstance(choice, ast.Constant) for choice in choices):
        return None
    return Literal[tuple(ast.literal_eval(choice) for choice in choices)]


def _targets(node: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign):
        yield from node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        yield node.target


def _name(node: ast.expr) -> str:
    """The plain name of a base: `Defense` of `Defense[Clips]`."""
    inner = node.value if isinstance(node, ast.Subscript) else node
    return inner.id if isinstance(inner, ast.Name) else ""
