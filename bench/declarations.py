"""Check that a plugin's class declares only what the contract knows. Called when a plugin is loaded.

An attribute that no base declares is usually misspelled, and would otherwise be ignored silently.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from torch import nn

from bench.api import Adaptation, Attacker, Clips, Dataset, Defense, Plugin, Rolls
from bench.vocabulary import Control, Kind

__all__ = ["BASES", "abstract", "complaint", "kind_of", "looks_like"]

BASES: Mapping[Kind, type[Plugin]] = {
    "defenses": Defense,
    "attackers": Attacker,
    "adaptations": Adaptation,
    "datasets": Dataset,
}
_METHODS: Mapping[Kind, tuple[str, ...]] = {
    "defenses": ("protect",),
    "attackers": ("model", "loss", "learn", "quality"),
    "adaptations": ("transform", "augment", "train", "train_with_granted", "transform_with_pairs"),
    "datasets": ("load",),
}
_PAGES: Mapping[Kind, str] = {
    "defenses": "docs/writing-a-defense.md",
    "attackers": "docs/writing-an-attacker.md",
    "adaptations": "docs/writing-an-adaptation.md",
    "datasets": "docs/writing-a-dataset.md",
}
_RENAMED = {"gates": "validity"}  # methods of version 1


def looks_like(kind: Kind, cls: type[Any]) -> bool:
    """Return whether a class has the methods of a kind, inherited or its own.

    Args:
        kind: The kind.
        cls: The class.

    Returns:
        Whether it has them all; for an adaptation, any of them.
    """
    if issubclass(cls, nn.Module):  # has a method `train` of its own
        return False
    present = [callable(getattr(cls, method, None)) for method in _METHODS[kind]]
    return any(present) if kind == "adaptations" else all(present)


def complaint(kind: Kind, cls: Any) -> str:
    """Describe in one line why a class does not fit the contract.

    Args:
        kind: The kind, whose base it must inherit.
        cls: The class of a plugin's file or entry point.

    Returns:
        "" if it fits, else what was found, what was expected and the nearest good name.
    """
    base = BASES[kind]
    if not issubclass(cls, base):
        generic = "Rolls" if "midi" in getattr(cls, "domains", ()) else "Clips"
        return (
            f"class {cls.__name__} inherits no base of the contract, as version 1 allowed: import {base.__name__} from "
            f"bench.api and write 'class {cls.__name__}({base.__name__}[{generic}])' ({_PAGES[kind]})"
        )
    if lacking := abstract(cls):
        return f"class {cls.__name__} lacks the method{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        return f"class {cls.__name__} must be a frozen dataclass: its fields are the parameters"
    if kind == "adaptations" and not any(cls.implements(hook) for hook in _METHODS[kind]):
        return f"class {cls.__name__} overrides none of {', '.join(_METHODS[kind])}, expected at least one"
    if kind == "adaptations" and cls.implements("transform_with_pairs") != ("pairs" in cls.requires):
        return f'class {cls.__name__}: expected both or neither of transform_with_pairs and requires = ("pairs",)'
    return next(_complaints(base, cls), "")


def abstract(cls: type[Any]) -> list[str]:
    """List the methods that a class must still define.

    Args:
        cls: The class.

    Returns:
        Their names, sorted.
    """
    return sorted(cls.__abstractmethods__) if inspect.isabstract(cls) else []


def kind_of(plugin: Plugin) -> Kind:
    """Return the kind of a plugin.

    Args:
        plugin: An instance.

    Returns:
        The kind.
    """
    return next(kind for kind, base in BASES.items() if isinstance(plugin, base))


def _complaints(base: type[Plugin], cls: type[Plugin]) -> Iterator[str]:
    attributes, methods = _declared(base)
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # checked by the caller
    hints = get_type_hints(base)
    for name in sorted(fields & attributes.keys()):
        if get_origin(hints[name]) is ClassVar:
            yield (
                f"'{name}' is an attribute of the contract and no parameter: write '{name} = ...' without an annotation"
            )
    for name, value in _defined(base, cls):
        if name in fields:
            continue
        if _is_method(value):
            if name not in methods | attributes.keys():
                yield _unknown_method(base, name, methods)
            elif name in attributes:
                yield f"'{name}' is an attribute of the contract, found a method"
            elif reason := _other_parameters(base, cls, name):
                yield reason
        elif name in methods:
            yield f"'{name}' is a method of the contract, found {value!r}"
        elif name not in attributes:
            yield _unknown(base, name, value, attributes, methods)
        elif reason := _mistyped(hints[name], value):
            yield f"{name} = {value!r}: {reason}"
    yield from _other_domain(cls)


def _defined(base: type[Plugin], cls: type[Plugin]) -> Iterator[tuple[str, Any]]:
    """Yield the public names that the classes below the base define, with their values."""
    for parent in cls.__mro__[: cls.__mro__.index(base)]:
        yield from ((name, value) for name, value in vars(parent).items() if not name.startswith("_"))


def _declared(base: type[Plugin]) -> tuple[dict[str, Any], set[str]]:
    """The public attributes and methods of a base."""
    names = {name: value for owner in (base, Plugin) for name, value in vars(owner).items() if not name.startswith("_")}
    methods = {name for name, value in names.items() if _is_method(value)}
    return {name: value for name, value in names.items() if name not in methods}, methods


def _is_method(value: Any) -> bool:
    kinds = (types.FunctionType, classmethod, staticmethod, property, functools.cached_property)
    return isinstance(value, kinds)


def _unknown(base: type[Plugin], name: str, value: Any, attributes: Mapping[str, Any], methods: set[str]) -> str:
    near = difflib.get_close_matches(name, [*attributes, *methods], n=1, cutoff=0.7)
    rule = "a parameter has an annotation, a constant's name begins with _"
    if near:
        return f"unknown class attribute '{name}': did you mean '{near[0]}'? ({rule})"
    if isinstance(value, bool | int | float | str):
        rule = f"as a parameter write '{name}: {type(value).__name__} = {value!r}', as a constant '_{name}'"
    return f"unknown class attribute '{name}': {rule} (attributes of {base.__name__}: {', '.join(sorted(attributes))})"


def _other_parameters(base: type[Plugin], cls: type[Plugin], name: str) -> str:
    """Why a method cannot be called as the contract calls it, or nothing."""
    method, contract = inspect.getattr_static(cls, name), getattr(base, name)
    if not (isinstance(method, types.FunctionType) and isinstance(contract, types.FunctionType)):
        return ""
    expected, own = inspect.signature(contract), inspect.signature(method)
    by_name = {each.name for each in expected.parameters.values() if each.kind is each.KEYWORD_ONLY}
    by_place = [each for each in expected.parameters if each not in by_name]
    try:
        own.bind(*by_place, **dict.fromkeys(by_name))
    except TypeError:
        return f"{name} takes ({_plainly(own)}), expected ({_plainly(expected)})"
    return ""


def _plainly(signature: inspect.Signature) -> str:
    """The names of parameters, without types and defaults."""
    bare = [each.replace(annotation=each.empty, default=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


def _unknown_method(base: type[Plugin], name: str, methods: set[str]) -> str:
    nearest = [_RENAMED[name]] if name in _RENAMED else difflib.get_close_matches(name, methods, n=1, cutoff=0.5)
    hint = (
        f"did you mean '{nearest[0]}'?"
        if nearest
        else f"{base.__name__} has {', '.join(sorted(methods - {'implements'}))};"
    )
    return f"unknown method '{name}': {hint} (the name of a helper begins with _)"


def _mistyped(hint: Any, value: Any) -> str:
    """Return why a value does not have its declared type; empty if it has."""
    import pydantic

    expected = get_args(hint)[0] if get_origin(hint) is ClassVar else hint
    try:
        pydantic.TypeAdapter(expected, config=None).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        if expected is Control:
            return f"expected one of {', '.join(f'Control.{item.name}' for item in Control)}, from bench.api"
        said: str = error.errors()[0]["msg"]
        return said[:1].lower() + said[1:].replace("'', ", "")  # the empty word is the default, not a choice
    return ""


def _other_domain(cls: type[Plugin]) -> Iterator[str]:
    """Yield an error where the type argument, as in `Defense[Rolls]`, and the declared domains differ."""
    for original in getattr(cls, "__orig_bases__", ()):
        kinds = [kind for argument in get_args(original) for kind in (get_args(argument) or (argument,))]
        expected = {kind.domain for kind in kinds if kind in (Clips, Rolls)}
        if expected and expected != set(cls.domains):
            name = f"{original.__origin__.__name__}[{' | '.join(kind.__name__ for kind in kinds)}]"
            listed = ", ".join(f'"{domain}"' for domain in sorted(expected)) + ("," if len(expected) == 1 else "")
            yield f"domains = {cls.domains!r}, but the class is {name}: expected domains = ({listed})"
