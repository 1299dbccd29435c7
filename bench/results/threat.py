"""The threat model of a trial: how much is published, and how much clean data the attacker has anyway."""

from __future__ import annotations

from typing import Annotated

import pydantic

__all__ = ["ThreatModel"]

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
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    published: Annotated[int, pydantic.Field(strict=True, ge=2)]
    granted: Annotated[int, pydantic.Field(strict=True, ge=2)]
    sizes: tuple[Count, ...] = ()
    replacement: str = ""

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
