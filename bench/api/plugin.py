"""What the four bases that plugins inherit have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

from bench.vocabulary import DomainName, Needs

__all__ = ["Plugin"]


class Plugin:
    """What all four bases declare. Inherit `Dataset`, `Defense`, `Attacker` or `Adaptation`, not this class."""

    version: ClassVar[int] = 1
    """Raise it when results change on purpose."""

    domains: ClassVar[tuple[DomainName, ...]] = ("audio",)
    """What it takes or gives: "audio" (`Clips`), "midi" (`Rolls`)."""

    needs: ClassVar[Needs] = Needs()
    """Processors, memory and accelerator memory of one stage."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Parameters for the budgets "smoke" and "full"; the fields' own defaults are the preset "small"."""

    paper: ClassVar[str] = ""
    """The source of the idea: authors, year, venue."""

    _optional: ClassVar[tuple[str, ...]] = ("inventory", "fingerprint", "resources")

    def resources(self) -> Needs:
        """Return what one stage needs with these parameters; by default `needs`."""
        return self.needs

    def inventory(self) -> Mapping[str, str]:
        """Say which weights, data or programs may be absent.

        Returns:
            Name of the thing -> "" if it is here, else what its absence disables and where to get it.
        """
        return {}

    def fingerprint(self) -> str:
        """Digest the files that it reads beside its own source, so that other data or weights get another key.

        Returns:
            A digest, cheap to compute (names, sizes and times will do); "" if it reads none.
        """
        return ""

    @final
    @classmethod
    def implements(cls, method: str) -> bool:
        """Return whether this plugin overrides an optional method of its base.

        Args:
            method: The name of an optional method, such as "generate" or "transform".

        Raises:
            AttributeError: The base declares no optional method of that name.
        """
        if method not in cls._optional:
            raise AttributeError(f"'{method}' is no optional method of {cls.__name__}: {', '.join(cls._optional)}")
        base = cls.__mro__[cls.__mro__.index(Plugin) - 1]
        return getattr(cls, method) is not getattr(base, method)
