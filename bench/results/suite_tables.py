"""Tables of a suite beside those of its plugins: published figures, the gate's limits, rounds of a track."""

from __future__ import annotations

import math
from typing import Annotated

import pydantic

from bench.results.names import NONE

__all__ = ["Limits", "Published", "Round"]


class Published(pydantic.BaseModel):
    """Figures of a paper: the quality that it reports at the best epoch, as the mean over epochs, or after the last;
    or metrics of the music that a model generates, by the names that `bench.metrics.symbolic.describe` gives.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    defense: str
    attacker: str = ""  # any
    adaptation: str = NONE
    peak: float = math.nan
    mean: float = math.nan
    last: float = math.nan
    knowledge: str = ""  # any
    title: str = ""  # of its column among metrics of music
    music: dict[str, float] = {}


class Limits(pydantic.BaseModel):
    """What `bench gate` calls a regression: a cell protects less by more than this, and not by chance.

    Attributes:
        tolerance: A fall of learning denied that is not reported.
        factor: Under a threat model, a factor by which the worth may rise, counted with the granted items, unreported.
        alpha: The share of runs without a change that may look like one.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tolerance: Annotated[float, pydantic.Field(strict=True, ge=0, allow_inf_nan=False)] = 0.02
    factor: Annotated[float, pydantic.Field(strict=True, ge=1, allow_inf_nan=False)] = 1.1
    alpha: Annotated[float, pydantic.Field(strict=True, gt=0, lt=1)] = 0.05


class Round(pydantic.BaseModel):
    """A round of successive halving.

    Attributes:
        effort: The part of each attacker's epochs or steps that its model is trained for.
        keep: How many responses go on.
        each: How many of every attacker's go on whatever the others reach: a part of the training says little about an
            attacker that learns slowly.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    effort: Annotated[float, pydantic.Field(strict=True, gt=0, le=1)] = 1.0
    keep: Annotated[int, pydantic.Field(strict=True, ge=1)]
    each: Annotated[int, pydantic.Field(strict=True, ge=0)] = 0
