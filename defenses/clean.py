"""No protection: the control that must score 0."""

from dataclasses import dataclass

from torch import Generator

from bench.api import Control, Data, Defense, Knowledge


@dataclass(frozen=True)
class Clean(Defense[Data]):
    """Return the items unchanged."""

    domains = ("audio", "midi")
    control = Control.CLEAN

    def protect(self, data: Data, knowledge: Knowledge, rng: Generator) -> Data:
        return data
