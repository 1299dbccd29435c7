"""What a plugin's source is: which files count, and their digest.

Of a plugin that is one file, that file counts; of a plugin in a folder (`NAME/__init__.py`):

* Python: `__init__.py` and every module of the folder that it imports, directly or through another of them; an import
  inside a function counts, and so does a script that one of them names (`"speak.py"`, to run it). Where one of them
  imports by a name that only the running program knows (`importlib`, `__import__`), every module of the folder counts.
  A script that none of them imports or names does not.
* Data: every other file, weights and configurations above all. Documentation (`.md`, `.rst`, a licence), hidden files,
  editors' copies and `__pycache__` do not count.

A plugin of an installed package also counts the modules of its package that it imports. Of every plugin the modules of
bench count that compute for it (`SHARED`): the contract and the engine are versioned by the schema of the keys. Of
Python neither comments nor docstrings nor blank lines count.
"""

from __future__ import annotations

import ast
import hashlib
import io
import math
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

from bench.errors import unknown

__all__ = ["SHARED", "counted_files", "digest", "file_called", "folder_files", "plain_name", "summary", "unlisted"]

# The packages of bench that compute for plugins: when a module changes, so does the digest of whoever imports it.
SHARED = ("bench.sound", "bench.notes", "bench.metrics", "bench.training")
_ENTRY = "__init__.py"
_PROSE = {".md", ".rst"}
_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
_TEXT = {".toml", ".json"}  # whose line ends do not count
_DYNAMIC = {"importlib", "importlib.util", "importlib.machinery", "pkgutil", "runpy"}
_SCRIPT = re.compile(r"\w+(/\w+)*\.py")
_BLOCK = 1 << 20  # bytes


def plain_name(path: Path) -> str:
    """What a plugin's file is called: its stem, or the name of the folder whose `__init__.py` it is."""
    return path.absolute().parent.name if path.name == _ENTRY else path.stem


def file_called(stem: str) -> str:
    """Return the path of the user's plugin, a file or a folder, that has a name without `.py`; "" without one."""
    path = Path(stem).expanduser()
    if Path(f"{path}.py").is_file():
        return f"{stem}.py"
    return stem if (path / "__init__.py").is_file() else ""


def unlisted(what: str, name: str, available: Iterable[str]) -> str:
    """Say in one line that no plugin has a name; where a file or folder here is called so, say to give its path.

    Args:
        what: the kind of plugin, in the singular, or "plugin".
        name: as the user wrote it.
        available: the names that there are.
    """
    near = file_called(name)
    if near:
        return f"unknown {what} '{name}': did you mean '{near}'? A plugin in a file of your own is named by its path"
    return unknown(what, name, available)


def summary(file: Path) -> str:
    """The first line of a module's docstring, or why the file cannot be read as Python."""
    try:
        docstring = ast.get_docstring(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError, OSError) as error:
        return f"(broken: {type(error).__name__}: {error})"
    return docstring.splitlines()[0].strip() if docstring else ""


def digest(entry: Path, package: Path | None = None, name: str = "") -> str:
    """The first 16 hexadecimal digits of the SHA-256 of what counts of a plugin.

    Args:
        entry: the plugin's file; `__init__.py` of a plugin in a folder.
        package: the folder of the installed package that the plugin is part of, if any.
        name: under which the package, or else the folder, is imported by its own modules.

    Raises:
        OSError: a file cannot be read.
    """
    sha = hashlib.sha256()
    files = counted_files(entry, package, name)
    root = _root(entry, package)
    for file in files:
        sha.update(file.relative_to(root).as_posix().encode() + b"\0")
        for block in _content(file):
            sha.update(block)
    for module in sorted(_bench_modules(file for file in files if file.suffix == ".py")):
        sha.update(module.encode() + b"\0")
        for block in _content(_bench_file(module)):
            sha.update(block)
    return sha.hexdigest()[:16]


def counted_files(entry: Path, package: Path | None = None, name: str = "") -> list[Path]:
    """The files of a plugin that its digest covers, in order; see `digest` for the arguments."""
    data = [] if entry.name != _ENTRY else [file for file in folder_files(entry.parent) if _is_data(file)]
    return sorted({*_modules(entry, package, name), *data})


def folder_files(folder: Path) -> list[Path]:
    """Every file of a folder that may be part of a plugin: none that is hidden, cached or an editor's copy."""
    inside = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(folder / file for file in inside if not any(_is_hidden(part) for part in file.parts))


def _root(entry: Path, package: Path | None) -> Path:
    """The folder that the paths in a digest start from."""
    return entry.parent if package is None else package


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part.endswith("~") or part == "__pycache__"


def _is_data(file: Path) -> bool:
    """Whether a file of a plugin's folder is neither Python nor documentation."""
    return not (file.suffix in {".py", *_PROSE} or file.name.startswith(_LICENCES))


def _modules(entry: Path, package: Path | None, name: str) -> set[Path]:
    """The Python files that a plugin imports of its own folder or package, its own among them."""
    root = _root(entry, package)
    if entry.name != _ENTRY and package is None:
        return {entry}
    modules, queue, dynamic = {entry}, [entry], False
    while queue:
        file = queue.pop()
        for module in _imports(file):
            dynamic = dynamic or module in _DYNAMIC
            for path in _own_paths(module, file, root, name):
                if path not in modules:
                    modules.add(path)
                    queue.append(path)
    if dynamic:
        modules |= {file for file in folder_files(root) if file.suffix == ".py"}
    return modules


def _own_paths(module: str, file: Path, root: Path, name: str) -> Iterator[Path]:
    """The file behind an imported name, if it lies below `root`: a module, or a package's `__init__.py`.

    module: absolute, or with one dot for the folder of `file` and one more for each folder above.
    """
    parts = module.lstrip(".")
    dots = len(module) - len(parts)
    if dots:
        base = file.parents[dots - 1] if dots <= len(file.parents) else root.parent
    elif name and (module == name or module.startswith(f"{name}.")):
        base, parts = root, module[len(name) + 1 :]
    else:
        return
    path = base.joinpath(*parts.split(".")) if parts else base
    for candidate in (path.with_suffix(".py") if parts else path / _ENTRY, path / _ENTRY):
        if candidate.is_file() and candidate.is_relative_to(root):
            yield candidate
            return


def _content(file: Path) -> Iterator[bytes]:
    """What counts of a file: of Python neither comments nor docstrings nor blank lines, which compute nothing."""
    if file.suffix == ".py":
        yield _code(file.read_bytes().decode("utf-8-sig", "replace")).encode()
    elif file.suffix in _TEXT:
        yield file.read_bytes().replace(b"\r\n", b"\n")
    else:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                yield block


def _code(source: str) -> str:
    """The lines of a program that compute, as they stand; of one that cannot be parsed, all of it.

    The same under every version of Python, which the dump of a syntax tree is not.
    """
    try:
        docstrings = [node.body[0] for node in ast.walk(ast.parse(source)) if _documented(node)]
        comments = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    except (SyntaxError, ValueError, tokenize.TokenError):
        return source
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for token in comments:
        row, column = token.start
        lines[row - 1] = lines[row - 1][:column]
    for node in docstrings:
        assert node.end_lineno is not None
        lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _documented(node: ast.AST) -> TypeGuard[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Whether a docstring stands here, on lines of its own."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return False
    first, own = node.body[0], getattr(node, "lineno", 0)
    after = node.body[1].lineno if len(node.body) > 1 else math.inf
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return text and first.lineno > own and (first.end_lineno or first.lineno) < after


def _bench_modules(files: Iterable[Path]) -> set[str]:
    """The modules of bench that are part of what a plugin computes, followed through their own imports."""
    modules: set[str] = set()
    queue = list(files)
    while queue:
        for module in _imports(queue.pop()):
            counted = module.startswith(tuple(f"{package}." for package in SHARED))
            if counted and module not in modules and _bench_file(module).is_file():
                modules.add(module)
                queue.append(_bench_file(module))
    return modules


def _bench_file(module: str) -> Path:
    """The file of a module of bench, or of a package."""
    path = Path(__file__).resolve().parent.joinpath(*module.split(".")[1:])
    return path / _ENTRY if path.is_dir() else path.with_suffix(".py")


def _imports(file: Path) -> Iterator[str]:
    """The names that a file imports, each also as `module.name`, and the scripts that it names; relative ones begin
    with their dots.

    A name that a package of bench only passes on (`from bench.sound import snr`) is followed to its module.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            separator = "" if module.endswith(".") else "."
            for alias in node.names:
                yield f"{module}{separator}{alias.name}"
                if module in SHARED and not _bench_file(f"{module}.{alias.name}").is_file():
                    yield from _passed_on(module, alias.name)
        elif isinstance(node, ast.Name) and node.id == "__import__":
            yield "importlib"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _SCRIPT.fullmatch(node.value):
            yield "." + node.value.removesuffix(".py").replace("/", ".")


def _passed_on(package: str, name: str) -> Iterator[str]:
    """The module that a package of bench takes a name from; all that it imports where the name does not tell."""
    tree = ast.parse(_bench_file(package).read_bytes())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    named = [node for node in imported if name in {alias.asname or alias.name for alias in node.names}]
    yield from (node.module for node in named or imported if node.module)
