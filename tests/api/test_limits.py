"""Numeric parameters that make no sense are refused when the plugin is built, by every plugin of the tree."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest

from bench import plugins
from bench.api import check_range
from bench.errors import UsageError
from bench.vocabulary import Kind

# Parameters for which every finite number makes sense: levels and ratios in dB, a seed, a code's key, a layer, which
# may be counted from the end.
ANY = {
    "snr_db", "lowest_db", "highest_db", "level_127_db", "full_scale_db", "least", "threshold", "masking_offset_db",
    "seed", "key", "layer",
}  # fmt: skip
BUILT_IN = [
    pytest.param(kind, name, id=f"{kind}-{name}")
    for kind in plugins.FOLDERS
    for name, listing in plugins.names(kind).items()
    if listing.origin == "built in"
]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_number_out_of_range_is_refused_in_one_line(kind: Kind, name: str) -> None:
    for field in dataclasses.fields(plugins.load(kind, name)):
        if isinstance(field.default, bool) or not isinstance(field.default, int | float):
            continue
        wrong: list[float] = [] if field.name in ANY else [-1]
        wrong += [math.nan, math.inf] if isinstance(field.default, float) else []
        for value in wrong:
            with pytest.raises(UsageError) as refusal:
                plugins.build(kind, name, {field.name: value})
            assert str(value) in str(refusal.value)
            assert "\n" not in str(refusal.value)


@dataclass(frozen=True)
class Numbers:
    share: float = 0.5


@pytest.mark.parametrize(
    ("given", "limits", "said"),
    [
        (1.5, {"least": 0, "most": 1}, "share = 1.5, expected 0..1, nearest is 1"),
        (-0.5, {"least": 0, "most": 1}, "share = -0.5, expected 0..1, nearest is 0"),
        (-0.5, {"least": 0}, "share = -0.5, expected 0 or more, nearest is 0"),
        (2.0, {"most": 1}, "share = 2.0, expected 1 or less, nearest is 1"),
        (0.0, {"above": 0}, "share = 0.0, expected more than 0, such as 0.5"),
        (2.0, {"above": 0, "most": 1}, "share = 2.0, expected more than 0 and up to 1, nearest is 1"),
        (math.nan, {"least": 0}, "share = nan, expected 0 or more, such as 0.5"),
    ],
)
def test_the_range_and_the_nearest_value_are_named(given: float, limits: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="share") as refusal:
        check_range(Numbers(given), "share", **limits)
    assert str(refusal.value) == said


@pytest.mark.parametrize("limits", [{"least": 0.5}, {"most": 0.5}, {"above": 0.49, "most": 1}, {"least": 0, "most": 1}])
def test_a_value_in_range_passes(limits: dict[str, float]) -> None:
    check_range(Numbers(), "share", **limits)
