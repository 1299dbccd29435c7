"""What was memorised, from records: gaps over the reference, exposures, and their errors."""

import math

import pytest

from bench.results.memorisation import chance, memorisation
from bench.results.record import Number, Record
from tests.factories import trial

ITEMS = [0.0, 0.1, 0.2, 0.3]


def model(published: float, unpublished: float, exposure: float = 2.0) -> dict[str, list[Number]]:
    """Items differ in how hard they are; exposures of unpublished items are 0 and 1 in turn."""
    return {
        "published_likelihood": [published - item for item in ITEMS],
        "unpublished_likelihood": [unpublished - 2 * item for item in ITEMS],
        "published_exposure": [exposure] * 4,
        "unpublished_exposure": [0.0, 1.0, 0.0, 1.0],
    }


def record(seed: int = 0, gain: float = 0.5, **models: dict[str, list[Number]]) -> Record:
    """The reference finds published items easier by 0.3; the models know them better than that."""
    measured = {"protected": model(-3.0 + gain, -3.3), "clean": model(-2.0, -3.3), "untrained": model(-4.0, -4.3)}
    return Record(key="0", status="ok", trial=trial("cloak", seed=seed), memorisation={**measured, **models})


def test_the_gap_is_that_over_the_reference_item_by_item() -> None:
    found = memorisation([record()])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    assert found.clean_gap.mean == pytest.approx(1.0)
    assert found.gap.error == pytest.approx(0.0, abs=1e-9)  # how hard an item is makes no error
    assert (found.candidates, found.most_exposure, found.seeds) == (4, 2.0, 1)


def test_exposure_has_the_error_over_its_items() -> None:
    found = memorisation([record()])
    assert found is not None
    assert (found.exposure.mean, found.exposure.error) == (2.0, 0.0)
    assert found.unpublished_exposure.mean == 0.5
    assert found.unpublished_exposure.error == pytest.approx(math.sqrt(1 / 3) / 2)


def test_the_larger_error_of_seeds_and_items_is_kept() -> None:
    found = memorisation([record(0, 0.4), record(1, 0.6)])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    assert found.gap.error == pytest.approx(0.1)  # over seeds
    assert found.unpublished_exposure.error == pytest.approx(math.sqrt(1 / 3) / 2 / math.sqrt(2))  # over items
    assert found.seeds == 2


def test_missing_numbers_are_left_out() -> None:
    values = model(-2.5, -3.3)
    values["published_likelihood"][0] = None
    found = memorisation([record(protected=values)])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    nothing: dict[str, list[Number]] = {name: [None] * 4 for name in values}
    found = memorisation([record(protected=nothing)])
    assert found is not None
    assert math.isnan(found.gap.mean)
    assert math.isnan(found.exposure.error)


def test_records_that_hold_none_have_none() -> None:
    bare = Record(key="0", status="ok", trial=trial("cloak"))
    assert memorisation([bare]) is None
    found = memorisation([bare, record()])
    assert found is not None
    assert found.seeds == 1


def test_chance_is_the_mean_over_all_ranks() -> None:
    assert chance(1) == 0.0
    assert chance(2) == 0.5
    assert chance(6) == pytest.approx(math.log2(6) - math.log2(math.factorial(6)) / 6)
