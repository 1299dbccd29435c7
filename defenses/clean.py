"""No protection: the control that must score 0."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from bench.api import Data, Knowledge


@dataclass(frozen=True)
class Clean:
    domains: ClassVar[tuple[str, ...]] = ("audio", "midi")
    control: ClassVar[str] = "clean"

    def protect(self, data: Data, knowledge: Knowledge, rng: Generator) -> Data:
        return data
