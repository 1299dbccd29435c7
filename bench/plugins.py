"""A file is a plugin: names without import, loading by name, parameters, and the digest of what a plugin computes.

Ours lie in `defenses/ attackers/ attackers/adaptive/ datasets/`, beside `bench/` in a checkout, inside it in a wheel.
They are mounted as `bench.defenses` and so on: empty modules whose `__path__` is the folder. The folders have no
`__init__.py`, so that our `datasets/` never hides the Hugging Face library of that name. Third parties use the entry
point groups `bench.defenses`, `bench.attackers`, `bench.adaptations`, `bench.datasets`; their names are
`distribution/name`, so that nobody can take a built-in's name. A path that ends in `.py` names a file of the user's.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import io
import math
import sys
import tokenize
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from bench import compat
from bench.errors import PluginError, UsageError, unknown
from bench.extras import explained
from bench.guard import exit_raises, exit_sentence
from bench.vocabulary import PRESETS, Kind

FOLDERS: dict[Kind, str] = {
    "defenses": "defenses",
    "attackers": "attackers",
    "adaptations": "attackers/adaptive",
    "datasets": "datasets",
}
# The optional methods that decide which stages a trial has.
HOOKS: Mapping[Kind, tuple[str, ...]] = {
    "adaptations": ("transform", "augment", "train"),
    "attackers": ("prior", "view", "validity"),
}
SINGULAR: dict[Kind, str] = {
    "defenses": "defense",
    "attackers": "attacker",
    "adaptations": "adaptation",
    "datasets": "dataset",
}
# The modules of bench that compute for plugins: when one changes, so does the digest of whoever imports it.
SHARED = ("bench.sound.", "bench.notes.", "bench.metrics.", "bench.training.")


@dataclasses.dataclass(frozen=True)
class Listing:
    """What is known of a plugin without importing it."""

    kind: Kind
    name: str
    summary: str  # the first line of its docstring
    origin: str  # "built in", "file", or "distribution version"
    path: Path | None  # its file, where it can be known


def home() -> Path:
    """The folder that holds the plugin folders and `leaderboards/`: the checkout's root, or `bench/` in a wheel."""
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "defenses").is_dir() else package


def names(kind: Kind) -> dict[str, Listing]:
    """Every plugin of a kind by name, in order. Nothing is imported."""
    return {listing.name: listing for listing in (*_ours(kind), *_theirs(kind))}


def find(kind: Kind, name: str) -> Listing:
    """The listing of one plugin, or a `PluginError` that names the nearest known one."""
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise PluginError(
                f"no {SINGULAR[kind]} file '{name}': give a path to a Python file or a name from `bench list`"
            )
        return Listing(kind, name, _summary(path), "file", path)
    file = _our_files(kind).get(name)
    if file:
        return Listing(kind, name, _summary(file), "built in", file)
    known = names(kind)
    if name not in known:
        raise PluginError(unknown(SINGULAR[kind], name, known))
    return known[name]


def load(kind: Kind, name: str) -> type[Any]:
    """The plugin's class. Raises `PluginError` that says which plugin failed and why."""
    listing = find(kind, name)
    compat.mend_torchaudio()  # before a plugin can import torchaudio or Transformers
    try:
        with exit_raises():
            if listing.origin == "built in":
                parent = _mount(kind)
                return _only_class(kind, importlib.import_module(f"{parent}.{name}"), listing)
            if listing.origin == "file":
                assert listing.path is not None
                return _only_class(kind, _module_from(listing.path), listing)
            for point in _entry_points(kind):
                if _third_party_name(point) == name:
                    return _fitting(kind, point.load(), listing)
    except PluginError:
        raise
    except SystemExit as error:
        raise PluginError(
            f"{SINGULAR[kind]} '{name}' ({listing.path}) cannot be imported: {exit_sentence(error)}"
        ) from error
    except Exception as error:
        reason = explained(error)
        cause = str(reason) if reason is not error else f"{type(error).__name__}: {error}"
        raise PluginError(
            f"{SINGULAR[kind]} '{name}' ({listing.path or listing.origin}) cannot be imported: {cause}"
        ) from error
    raise PluginError(unknown(SINGULAR[kind], name, names(kind)))


def build(kind: Kind, name: str, given: Mapping[str, Any] | None = None, preset: str = "small") -> Any:
    """The plugin with its parameters: the fields' defaults, then the preset's, then those given.

    Raises `UsageError` for a parameter that the plugin does not have or a value of the wrong type.
    """
    cls = load(kind, name)
    return from_parameters(kind, name, cls, parameters(kind, name, cls, given, preset))


def parameters(
    kind: Kind, name: str, cls: type[Any], given: Mapping[str, Any] | None = None, preset: str = "small"
) -> dict[str, Any]:
    """The preset's parameters with those given laid over them; what is absent has the field's default."""
    if preset not in PRESETS:
        raise UsageError(unknown("preset", preset, PRESETS))
    merged = {**cls.presets.get(preset, {}), **(given or {})}
    fields = [field.name for field in dataclasses.fields(cls)]
    for key in merged:
        if key not in fields:
            raise UsageError(unknown(f"parameter of {SINGULAR[kind]} '{name}'", key, fields))
    return merged


def from_parameters(kind: Kind, name: str, cls: type[Any], values: Mapping[str, Any]) -> Any:
    """An instance, its values checked against the annotations of the fields (a list from JSON may be a tuple)."""
    import pydantic

    try:
        with exit_raises():
            return _validator(cls).validate_python(dict(values))  # type: ignore[arg-type]  # a class can be hashed
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its parameters"
        message = f"{SINGULAR[kind]} '{name}': {where} = {first.get('input')!r}: {first['msg']}"
        raise UsageError(message.replace("\n", " ")) from error
    except SystemExit as error:
        raise PluginError(f"{SINGULAR[kind]} '{name}': {exit_sentence(error)}") from error
    except ValueError as error:  # raised by a __post_init__ of the plugin
        raise UsageError(f"{SINGULAR[kind]} '{name}': {error}") from error


@functools.cache
def _validator(cls: type[Any]) -> Any:
    """Building one takes milliseconds, and a suite builds a plugin thousands of times."""
    import pydantic

    return pydantic.TypeAdapter(cls)


def resolved(plugin: Any) -> dict[str, Any]:
    """Every parameter of an instance, as it goes into the record and the key."""
    return dataclasses.asdict(plugin)


@functools.cache
def digest(kind: Kind, name: str) -> str:
    """A digest of what the plugin computes: its own files and the modules of bench that do some of its work (`SHARED`)
    and that they import, directly or through each other. The contract and the engine are left out: they
    are versioned by the schema of the keys.
    """
    listing = find(kind, name)
    sha = hashlib.sha256()
    if listing.path is None:
        sha.update(f"{name} {listing.origin}".encode())
        return sha.hexdigest()[:16]
    root = listing.path.parent if listing.path.name == "__init__.py" else listing.path
    own = sorted(root.rglob("*")) if root.is_dir() else [root]
    files = [file for file in own if file.is_file() and "__pycache__" not in file.parts]
    base = root if root.is_dir() else root.parent
    for file in files:
        sha.update(file.relative_to(base).as_posix().encode() + b"\0" + _content(file))
    for module in sorted(_bench_modules(file for file in files if file.suffix == ".py")):
        sha.update(module.encode() + b"\0" + _content(_bench_file(module)))
    return sha.hexdigest()[:16]


def _content(file: Path) -> bytes:
    """What counts of a file: of Python neither comments nor docstrings nor blank lines, which compute nothing."""
    data = file.read_bytes()
    if file.suffix == ".py":
        return _code(data.decode("utf-8", "replace")).encode()
    return data.replace(b"\r\n", b"\n") if file.suffix in {".toml", ".json", ".md"} else data


def _code(source: str) -> str:
    """The lines of a program that compute, as they stand; of one that cannot be parsed, all of it.

    The same under every version of Python, which the dump of a syntax tree is not.
    """
    try:
        docstrings = [node.body[0] for node in ast.walk(ast.parse(source)) if _documented(node)]
        comments = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    except (SyntaxError, tokenize.TokenError):
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


def _bench_modules(files: Iterator[Path]) -> set[str]:
    """The modules of bench that are part of what a plugin computes, followed through their own imports."""
    found: set[str] = set()
    queue = list(files)
    while queue:
        for module in _imports(queue.pop()):
            counted = module.startswith(SHARED)
            if counted and module not in found and _bench_file(module).is_file():
                found.add(module)
                queue.append(_bench_file(module))
    return found


def _bench_file(module: str) -> Path:
    """The file of a module, or of a package."""
    path = Path(__file__).resolve().parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _ours(kind: Kind) -> Iterator[Listing]:
    for name, file in _our_files(kind).items():
        yield Listing(kind, name, _summary(file), "built in", file)


def _our_files(kind: Kind) -> dict[str, Path]:
    """Name -> file, in order; none of them is opened."""
    folder = home() / FOLDERS[kind]
    found = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        file = entry / "__init__.py" if entry.is_dir() else entry
        if file.suffix == ".py" and file.is_file() and not entry.name.startswith(("_", ".")):
            found[entry.stem] = file
    return found


def _theirs(kind: Kind) -> Iterator[Listing]:
    for point in _entry_points(kind):
        dist = point.dist
        yield Listing(
            kind, _third_party_name(point), _their_summary(point), f"{dist.name} {dist.version}", _their_file(point)
        )


def _entry_points(kind: Kind) -> Iterator[Any]:
    from importlib.metadata import entry_points

    yield from sorted((point for point in entry_points(group=f"bench.{kind}") if point.dist), key=_third_party_name)


def _third_party_name(point: Any) -> str:
    return f"{point.dist.name}/{point.name}"


def _their_file(point: Any) -> Path | None:
    """The file of an entry point's module, looked up by path alone: importing its package is the loader's business."""
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)  # finding a top-level name imports nothing
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        stem = Path(folder).joinpath(*rest)
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None


def _their_summary(point: Any) -> str:
    file = _their_file(point)
    return _summary(file) if file else ""


def _summary(file: Path) -> str:
    """The first line of a module's docstring, or why the file cannot be read as Python."""
    return _summary_of(file, file.stat().st_mtime_ns)


@functools.cache
def _summary_of(file: Path, changed: int) -> str:
    """A run finds a plugin thousands of times, and parsing it takes milliseconds."""
    try:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    except (SyntaxError, UnicodeDecodeError) as error:
        return f"(broken: {type(error).__name__}: {error})"
    return docstring.splitlines()[0].strip() if docstring else ""


def _mount(kind: Kind) -> str:
    """The name of the module under which a kind's folder is importable; made on first use."""
    if kind == "adaptations":
        _mount("attackers")
        return _mounted("bench.attackers.adaptive", home() / FOLDERS[kind])
    return _mounted(f"bench.{kind}", home() / FOLDERS[kind])


def _mounted(name: str, folder: Path) -> str:
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None, is_package=True)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)
    return name


def _module_from(path: Path) -> types.ModuleType:
    """A user's file as a module of a name of its own, imported once."""
    name = f"bench_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _only_class(kind: Kind, module: types.ModuleType, listing: Listing) -> type[Any]:
    """The one public class of the module's own that is a plugin of its kind."""
    from bench import declarations

    base = declarations.BASES[kind]
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    public = [cls for cls in own if not cls.__name__.startswith("_")]
    fitting = [cls for cls in public if issubclass(cls, base)] or [
        cls for cls in public if declarations.looks_like(kind, cls)
    ]
    if len(fitting) != 1:
        found = ", ".join(cls.__name__ for cls in fitting) or "none"
        raise PluginError(
            f"{SINGULAR[kind]} '{listing.name}' ({listing.path}) must hold one public class that inherits "
            f"{base.__name__}; found: {found}"
        )
    return _fitting(kind, fitting[0], listing)


def _fitting(kind: Kind, cls: Any, listing: Listing) -> type[Any]:
    """The class, or a `PluginError` that says what of it does not fit the contract."""
    from bench import declarations

    where = f"{SINGULAR[kind]} '{listing.name}' ({listing.path or listing.origin})"
    if not isinstance(cls, type):
        raise PluginError(f"{where} names {cls!r}, expected a class")
    if reason := declarations.complaint(kind, cls):
        raise PluginError(f"{where}: {reason}")
    return cls
