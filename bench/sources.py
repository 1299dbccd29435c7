"""What belongs to a plugin's source, and its digest.

For a plugin that is one file, that file counts; for a plugin in a folder (`NAME/__init__.py`):

* Python: `__init__.py` and every module of the folder that it imports, directly or indirectly; an import inside a
  function counts, and so does a script that one of them names (`"speak.py"`, to run it). Where one of them imports by a
  computed name (`importlib`, `__import__`), every module of the folder counts. A script that none of them imports or
  names does not.
* Data: every other file, such as weights and configurations. Documentation (`.md`, `.rst`, a licence), hidden files,
  editors' copies and `__pycache__` do not count.

For a plugin of an installed package, the modules of its package that it imports count too. For every plugin, the
modules of bench count that compute for it (`SHARED`); the contract and the engine are versioned by the schema of the
keys instead. Comments, docstrings and blank lines of Python do not count.
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

# The packages of bench that compute for plugins: a change of a module changes the digests of its importers.
SHARED = ("bench.sound", "bench.notes", "bench.metrics", "bench.training")
_ENTRY = "__init__.py"
_PROSE = {".md", ".rst"}
_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
_TEXT = {".toml", ".json"}  # whose line ends do not count
_DYNAMIC = {"importlib", "importlib.util", "importlib.machinery", "pkgutil", "runpy"}
_SCRIPT = re.compile(r"\w+(/\w+)*\.py")
_BLOCK = 1 << 20  # bytes


def plain_name(path: Path) -> str:
    """Return the name of a plugin's file.

    Args:
        path: The file.

    Returns:
        Its stem, or the name of the folder whose `__init__.py` it is.
    """
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
    """Return the first line of a module's docstring.

    Args:
        file: The module.

    Returns:
        The line, "" without a docstring; or why the file cannot be read as Python.
    """
    try:
        docstring = ast.get_docstring(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError, OSError) as error:
        return f"(broken: {type(error).__name__}: {error})"
    return docstring.splitlines()[0].strip() if docstring else ""


def digest(entry: Path, package: Path | None = None, name: str = "") -> str:
    """Return the digest of a plugin's source.

    Args:
        entry: The plugin's file; `__init__.py` of a plugin in a folder.
        package: The folder of the installed package that the plugin is part of, if any.
        name: The name by which the package, or else the folder, is imported by its own modules.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.

    Raises:
        OSError: A file cannot be read.
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
    """Return the files of a plugin that its digest covers.

    Args:
        entry: See `digest`.
        package: See `digest`.
        name: See `digest`.

    Returns:
        The files, sorted.
    """
    data = [] if entry.name != _ENTRY else [file for file in folder_files(entry.parent) if _is_data(file)]
    return sorted({*_modules(entry, package, name), *data})


def folder_files(folder: Path) -> list[Path]:
    """Return every file of a folder that may be part of a plugin: none that is hidden, cached or an editor's copy.

    Args:
        folder: The folder.

    Returns:
        The files, sorted.
    """
    relative = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(folder / file for file in relative if not any(_is_hidden(part) for part in file.parts))


def _root(entry: Path, package: Path | None) -> Path:
    """Return the folder that the paths in a digest are relative to."""
    return entry.parent if package is None else package


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part.endswith("~") or part == "__pycache__"


def _is_data(file: Path) -> bool:
    """Return whether a file of a plugin's folder is neither Python nor documentation."""
    return not (file.suffix in {".py", *_PROSE} or file.name.startswith(_LICENCES))


def _modules(entry: Path, package: Path | None, name: str) -> set[Path]:
    """Return the Python files of a plugin's own folder or package that it imports, including its own."""
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
    """Yield the file behind an imported name, if it lies below `root`: a module, or a package's `__init__.py`.

    `module` is absolute, or has one dot for the folder of `file` and one more for each folder above.
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
    """Yield the part of a file that counts; for Python without comments, docstrings and blank lines."""
    if file.suffix == ".py":
        yield _code(file.read_bytes().decode("utf-8-sig", "replace")).encode()
    elif file.suffix in _TEXT:
        yield file.read_bytes().replace(b"\r\n", b"\n")
    else:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                yield block


def _code(source: str) -> str:
    """Return the lines of a program without comments, docstrings and blank lines; all of it if it cannot be parsed.

    The result is the same under every version of Python, unlike the dump of a syntax tree.
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
    """Return whether a node has a docstring on lines of its own."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return False
    first, definition_line = node.body[0], getattr(node, "lineno", 0)
    next_line = node.body[1].lineno if len(node.body) > 1 else math.inf
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return text and first.lineno > definition_line and (first.end_lineno or first.lineno) < next_line


def _bench_modules(files: Iterable[Path]) -> set[str]:
    """Return the modules of bench that a plugin's files import, directly or indirectly."""
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
    """Return the file of a module or package of bench."""
    path = Path(__file__).resolve().parent.joinpath(*module.split(".")[1:])
    return path / _ENTRY if path.is_dir() else path.with_suffix(".py")


def _imports(file: Path) -> Iterator[str]:
    """Yield the names that a file imports, each also as `module.name`, and the scripts that it names; relative ones
    begin with their dots.

    A name that a package of bench re-exports (`from bench.sound import snr`) is followed to its module.
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
    """Yield the module from which a package of bench re-exports a name; all that it imports where that cannot be
    told.
    """
    tree = ast.parse(_bench_file(package).read_bytes())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    named = [node for node in imported if name in {alias.asname or alias.name for alias in node.names}]
    yield from (node.module for node in named or imported if node.module)
