"""Plugins are files: listing without import, loading by name, parameters, and the digest of their code.

Built-in plugins are in `defenses/ attackers/ attackers/adaptive/ datasets/`, beside `bench/` in a checkout, inside it
in a wheel, and importable as `bench.defenses` and so on: empty modules whose `__path__` is the folder. The folders have
no `__init__.py`, so that our `datasets/` never hides the Hugging Face library. Third parties use the entry point groups
`bench.defenses`, ..., named `distribution/name`, so that they cannot clash with a built-in's name. A path that ends in
`.py`, or of a folder with an `__init__.py`, is a user's plugin.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import compat, sources
from bench.errors import PluginError, UsageError, unknown
from bench.extras import explained
from bench.files import Terminated
from bench.guard import exit_raises, exit_sentence, rehearse
from bench.vocabulary import PRESETS, Kind

FOLDERS: dict[Kind, str] = {
    "defenses": "defenses",
    "attackers": "attackers",
    "adaptations": "attackers/adaptive",
    "datasets": "datasets",
}
# The optional methods that decide which stages a trial has.
HOOKS: Mapping[Kind, tuple[str, ...]] = {
    "adaptations": ("transform", "augment", "train", "train_with_granted", "transform_with_pairs"),
    "attackers": ("prior", "view", "validity", "continuation"),
}
SINGULAR: dict[Kind, str] = {
    "defenses": "defense",
    "attackers": "attacker",
    "adaptations": "adaptation",
    "datasets": "dataset",
}
# What each kind's folder is imported as.
_MOUNTED: dict[Kind, str] = {
    "defenses": "bench.defenses",
    "attackers": "bench.attackers",
    "adaptations": "bench.attackers.adaptive",
    "datasets": "bench.datasets",
}


@dataclasses.dataclass(frozen=True)
class Listing:
    """What is known of a plugin without importing it."""

    kind: Kind
    name: str
    summary: str  # the first line of its docstring
    origin: str  # "built in", "file", or "distribution version"
    path: Path | None  # its file, where it can be known

    @property
    def title(self) -> str:
        """What messages call it: its kind and name, and its file where the name does not say it."""
        origin = "" if self.name == str(self.path) else f" ({self.path or self.origin})"
        return f"{SINGULAR[self.kind]} '{self.name}'{origin}"


def home() -> Path:
    """The folder that holds the plugin folders and `leaderboards/`: the checkout's root, or `bench/` in a wheel."""
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "defenses").is_dir() else package


def names(kind: Kind) -> dict[str, Listing]:
    """Every plugin of a kind by name, in order. Nothing is imported."""
    ours = {name: Listing(kind, name, _summary(file), "built in", file) for name, file in _our_files(kind).items()}
    return ours | {listing.name: listing for listing in _theirs(kind)}


def find(kind: Kind, name: str) -> Listing:
    """The listing of one plugin, or a `PluginError` that names the nearest known one."""
    located = locate(kind, name)
    if located.endswith(".py"):
        path = Path(located)
        if not path.is_file():
            near = sources.file_called(name.removesuffix(".py"))
            hint = f"did you mean '{near}'?" if near else "give a path to a Python file or a name from `bench list`"
            raise PluginError(f"no {SINGULAR[kind]} file '{name}': {hint}")
        return Listing(kind, name, _summary(path), "file", path)
    file = _our_files(kind).get(name)
    if file:
        return Listing(kind, name, _summary(file), "built in", file)
    available = names(kind)
    if name not in available:
        raise PluginError(sources.unlisted(SINGULAR[kind], name, available))
    return available[name]


def locate(kind: Kind, name: str, folder: Path | None = None) -> str:
    """The absolute path of a user's plugin, which ends in `.py`; the name itself of any other plugin.

    Args:
        kind: of the plugin.
        name: a name, the path of a Python file, or the path of a folder that holds `__init__.py`. A name that is known
            is no path.
        folder: that a relative path starts from; by default the current one.
    """
    path = (folder or Path()) / Path(name).expanduser()
    if name.endswith(".py"):
        return os.path.abspath(path)
    if name in _our_files(kind) or not (path / "__init__.py").is_file() or name in names(kind):
        return name
    return os.path.abspath(path / "__init__.py")


def load(kind: Kind, name: str) -> type[Any]:
    """The plugin's class. Raises `PluginError` that says which plugin failed and why."""
    listing = find(kind, name)
    compat.workaround_torchaudio()  # before a plugin can import torchaudio or Transformers
    _rehearse(listing, "imported", lambda: _imported(listing))
    try:
        with exit_raises():
            return _imported(listing)
    except (PluginError, KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # a plugin may raise what is no Exception: SystemExit, CancelledError
        raise PluginError(f"{listing.title} cannot be imported: {_cause(error)}") from error


def _imported(listing: Listing) -> type[Any]:
    """Import a plugin and return its class."""
    kind = listing.kind
    if listing.origin == "built in":
        return _only_class(kind, importlib.import_module(f"{_mount(kind)}.{listing.name}"), listing)
    if listing.origin == "file":
        assert listing.path is not None
        return _only_class(kind, _module_from(listing.path.resolve()), listing)
    return _fitting(kind, _entry_point(listing).load(), listing)


def _rehearse(listing: Listing, what: str, action: Callable[[], object]) -> None:
    """Raise `PluginError` if using a plugin that is not of this tree ends the process."""
    if listing.origin != "built in":
        importlib.import_module("bench.declarations")  # which imports torch: here, once, and not in the fork
        rehearse(listing.title, what, action)


def _cause(error: BaseException) -> str:
    """Why a plugin's own code failed, and where, on one line."""
    if isinstance(error, SystemExit):
        return exit_sentence(error)
    if isinstance(error, Exception) and (reason := explained(error)) is not error:
        return str(reason)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    words = " ".join(str(error).split())
    return type(error).__name__ + (f": {words}" if words else "") + ("" if isinstance(error, SyntaxError) else where)


def build(kind: Kind, name: str, given: Mapping[str, Any] | None = None, preset: str = "small") -> Any:
    """Build a plugin from its defaults, the preset and the given parameters. Raise `UsageError` for a bad parameter."""
    cls = load(kind, name)
    values = parameters(kind, name, cls, given, preset)
    _rehearse(find(kind, name), "built", lambda: from_parameters(kind, name, cls, values))
    return from_parameters(kind, name, cls, values)


def parameters(
    kind: Kind, name: str, cls: type[Any], given: Mapping[str, Any] | None = None, preset: str = "small"
) -> dict[str, Any]:
    """The preset's parameters with those given laid over them; what is absent has the field's default."""
    if preset not in PRESETS:
        raise UsageError(unknown("preset", preset, PRESETS))
    merged = {**cls.presets.get(preset, {}), **(given or {})}
    check_parameters(kind, name, merged, [field.name for field in dataclasses.fields(cls)])
    return merged


def check_parameters(kind: Kind, name: str, given: Iterable[str], fields: Collection[str]) -> None:
    """Raise `UsageError` for the first name that is no parameter of a plugin, with the nearest one."""
    for key in given:
        if key not in fields:
            raise UsageError(unknown(f"parameter of {SINGULAR[kind]} '{name}'", key, fields))


def from_parameters(kind: Kind, name: str, cls: type[Any], values: Mapping[str, Any]) -> Any:
    """An instance, its values checked against the annotations of the fields (a list from JSON may be a tuple)."""
    import pydantic

    from bench.api.limits import check_finite

    try:
        with exit_raises():
            plugin = _validator(cls).validate_python(dict(values))  # type: ignore[arg-type]  # a class can be hashed
        check_finite(plugin)
        return plugin
    except pydantic.ValidationError as error:
        raise _refused(kind, name, error) from error
    except (ValueError, UsageError) as error:  # raised by a __post_init__ of the plugin
        raise UsageError(f"{SINGULAR[kind]} '{name}': {' '.join(str(error).split())}") from error
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        raise PluginError(f"{SINGULAR[kind]} '{name}' cannot be built: {_cause(error)}") from error


def check_value(kind: Kind, name: str, key: str, value: Any, type_: Any) -> None:
    """Raise the `UsageError` of `from_parameters` for one value, by its type alone."""
    import pydantic

    try:
        _validator(type_).validate_python(value)
    except pydantic.ValidationError as error:
        raise _refused(kind, name, error, key) from error


def _refused(kind: Kind, name: str, error: Any, parameter: str = "its parameters") -> UsageError:
    """Pydantic's first complaint as one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or parameter
    # What a __post_init__ raised names the parameter itself.
    raised = first.get("ctx", {}).get("error") if not first["loc"] else None
    message = str(raised) if raised else f"{where} = {first.get('input')!r}: {first['msg']}"
    return UsageError(f"{SINGULAR[kind]} '{name}': {message}".replace("\n", " "))


@functools.cache
def _validator(cls: Any) -> Any:
    """Building one takes milliseconds, and a suite builds a plugin thousands of times."""
    import pydantic

    return pydantic.TypeAdapter(cls)


def resolved(plugin: Any) -> dict[str, Any]:
    """Every parameter of an instance, as it goes into the record and the key."""
    return dataclasses.asdict(plugin)


@functools.cache
def digest(kind: Kind, name: str) -> str:
    """A digest of what the plugin computes: see `bench.sources` for what counts. Computed once in a process."""
    listing = find(kind, name)
    if listing.path is None:
        return hashlib.sha256(f"{name} {listing.origin}".encode()).hexdigest()[:16]
    try:
        return sources.digest(listing.path, *_importable(listing))
    except OSError as error:
        raise PluginError(f"{SINGULAR[kind]} '{name}': {error.filename} cannot be read: {error.strerror}") from error


def _importable(listing: Listing) -> tuple[Path | None, str]:
    """The folder of the installed package that a plugin is part of, and the name by which its modules import it."""
    if listing.origin == "built in":
        return None, f"{_MOUNTED[listing.kind]}.{listing.name}"
    if listing.origin == "file":
        return None, ""
    top = _entry_point(listing).module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None, top


def _our_files(kind: Kind) -> dict[str, Path]:
    """Name -> file, in order; none of them is opened."""
    folder = home() / FOLDERS[kind]
    files = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        file = entry / "__init__.py" if entry.is_dir() else entry
        if file.suffix == ".py" and file.is_file() and not entry.name.startswith(("_", ".")):
            files[entry.stem] = file
    return files


def _theirs(kind: Kind) -> Iterator[Listing]:
    for point in _entry_points(kind):
        dist = point.dist
        yield Listing(
            kind, _third_party_name(point), _their_summary(point), f"{dist.name} {dist.version}", _their_file(point)
        )


def _entry_points(kind: Kind) -> Iterator[Any]:
    from importlib.metadata import entry_points

    yield from sorted((point for point in entry_points(group=f"bench.{kind}") if point.dist), key=_third_party_name)


def _entry_point(listing: Listing) -> Any:
    """The entry point of a third party's plugin."""
    return next(point for point in _entry_points(listing.kind) if _third_party_name(point) == listing.name)


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
    return sources.summary(file)


def _mount(kind: Kind) -> str:
    """The name of the module under which a kind's folder is importable; made on first use."""
    if kind == "adaptations":
        _mount("attackers")
    return _mounted(_MOUNTED[kind], home() / FOLDERS[kind])


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
    inside = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for imported in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[imported]
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
        listed = ", ".join(cls.__name__ for cls in fitting) or "none"
        raise PluginError(f"{listing.title} must hold one public class that inherits {base.__name__}; found: {listed}")
    return _fitting(kind, fitting[0], listing)


def _fitting(kind: Kind, cls: Any, listing: Listing) -> type[Any]:
    """The class, or a `PluginError` that says what of it does not fit the contract."""
    from bench import declarations

    where = listing.title
    if not isinstance(cls, type):
        raise PluginError(f"{where} names {cls!r}, expected a class")
    if reason := declarations.complaint(kind, cls):
        raise PluginError(f"{where}: {reason}")
    return cls
