"""The threat model of a trial: how much is published, and how much clean data the attacker has anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic

from bench.errors import PluginError, unknown
from bench.vocabulary import PRESETS

__all__ = ["DeclaredThreat", "ThreatModel", "declared_threat"]

_LABEL = "replacement"  # of a replacement that is declared with parameters

_PARTS = (16, 8, 4, 2)  # the smaller sizes of the clean curve, as parts of the published set, unless others are given

Count = Annotated[int, pydantic.Field(strict=True, ge=1)]


class ThreatModel(pydantic.BaseModel):
    """What score 2 needs to know of a trial: see `bench.results.worth`.

    Attributes:
        published: n, the items that each seed draws and publishes.
        granted: the clean items that the attacker has beside them, half of them to choose by; each seed draws its own.
        sizes: the clean curve's sizes between 0 and n, increasing; by default n/16, n/8, n/4 and n/2.
        replacement: a data set of other material that the attacker has as well, of which it trains on n items in every
            arm; "" for none.
        steps_as: in every arm the attacker takes as many optimiser steps as so many published items would give it; 0:
            as n do. An attacker whose passes suit thousands of items does not converge in as many over a hundred.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    published: Annotated[int, pydantic.Field(strict=True, ge=2)]
    granted: Annotated[int, pydantic.Field(strict=True, ge=2)]
    sizes: tuple[Count, ...] = ()
    replacement: str = ""
    steps_as: Annotated[int, pydantic.Field(strict=True, ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _sizes_fit(self) -> ThreatModel:
        wrong = [size for size in self.sizes if size >= self.published]
        if wrong:
            raise ValueError(f"size {wrong[0]} of the clean curve: expected less than the {self.published} published")
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes {list(self.sizes)} of the clean curve: expected increasing numbers")
        return self

    @property
    def smaller(self) -> tuple[int, ...]:
        """The sizes below n, 0 first: each is a model of its own."""
        between = self.sizes or tuple(self.published // part for part in _PARTS)
        return tuple(sorted({0, *between}))


@dataclass(frozen=True)
class DeclaredThreat:
    """A threat model, and the plugin of its replacement.

    Attributes:
        model: what is published and granted.
        plugin: the replacement's data set; "" for none, or for one that the suite names.
        params: the replacement's parameters, as the data set declares them.
    """

    model: ThreatModel
    plugin: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


def declared_threat(
    plugin: str, declared: Mapping[str, Any], domains: tuple[str, ...], domain: str, preset: str
) -> DeclaredThreat | None:
    """Read the threat model that a data set declares.

    Args:
        plugin: the data set, for messages.
        declared: its attribute `threat`.
        domains: its domains.
        domain: the domain that is asked for.
        preset: the preset that is asked for.

    Returns:
        The threat model; None where nothing is declared for the domain and the preset.

    Raises:
        PluginError: the declaration names an unknown domain or preset, or what it says is no threat model.
    """
    where = f"data set '{plugin}': threat"
    for name, presets in declared.items():
        if name not in domains:
            raise PluginError(f"{where}: {unknown('domain', name, domains)}")
        for key in presets if isinstance(presets, Mapping) else [str(presets)]:
            if key not in PRESETS:
                raise PluginError(f"{where}: {unknown('preset', key, PRESETS)}")
    values = declared.get(domain, {}).get(preset)
    if values is None:
        return None
    try:
        values = dict(values)
        replacement = values.get("replacement", "")
        if isinstance(replacement, Mapping):
            params = dict(replacement)
            other = str(params.pop("plugin", plugin))
            return DeclaredThreat(ThreatModel.model_validate({**values, "replacement": _LABEL}), other, params)
        return DeclaredThreat(ThreatModel.model_validate(values), str(replacement))
    except (pydantic.ValidationError, TypeError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise PluginError(f"{where}: {domain}, {preset}: {reason}") from error
