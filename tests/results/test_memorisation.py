"""What was memorised, from records: gaps over the reference, exposures, and their errors."""

import math

import pytest

from bench.results.memorisation import chance, items_of, memorisation
from bench.results.record import Number, Record
from tests.factories import trial

N = 4
HARD = [0.0, 0.1, 0.2, 0.3] * (2 * N)  # what every continuation costs any model


def model(published: float, unpublished: float, rank: int = 1) -> list[Number]:
    """How likely own continuations are; so many of the rivals less one are likelier. Of unpublished items 3 or none."""
    own = [published] * N + [unpublished] * N
    better = [rank - 1] * N + [3, 0] * (N // 2)
    rivals = [
        value + (0.5 if at < ahead else -0.5) for value, ahead in zip(own, better, strict=True) for at in range(3)
    ]
    return [value - hard for value, hard in zip(own + rivals, HARD, strict=True)]


def reference() -> list[Number]:
    """It finds published continuations likelier than all others."""
    return [(-4.0 if at < N else -4.3) - hard for at, hard in enumerate(HARD)]


def record(seed: int = 0, gain: float = 0.5, **models: list[Number]) -> Record:
    """The models of the protected and the clean set know published items better by `gain` and 1 than the reference."""
    measured = {"protected": model(-3.0 + gain, -3.3, rank=2), "clean": model(-2.0, -3.3), "untrained": reference()}
    return Record(key="0", status="ok", trial=trial("cloak", seed=seed), memorisation={**measured, **models})


def test_the_gap_is_that_over_the_reference_item_by_item() -> None:
    found = memorisation([record()])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    assert found.clean_gap.mean == pytest.approx(1.0)
    assert found.gap.error == pytest.approx(0.0, abs=1e-9)  # how hard an item is makes no error
    assert (found.candidates, found.most_exposure, found.seeds) == (4, 2.0, 1)


def test_exposure_is_of_ranks_less_how_hard_a_continuation_is() -> None:
    found = memorisation([record()])
    assert found is not None
    assert (found.exposure.mean, found.exposure.error) == (1.0, 0.0)
    easier = [value + 9.0 if value is not None else None for value in reference()[:N]] + reference()[N:]
    known_by_both = memorisation([record(protected=easier, untrained=easier)])
    assert known_by_both is not None
    assert known_by_both.exposure.mean == 0.0  # ties count against an item


def test_exposure_has_the_error_over_its_items() -> None:
    found = memorisation([record()])
    assert found is not None
    assert (found.clean_exposure.mean, found.clean_exposure.error) == (2.0, 0.0)
    assert found.unpublished_exposure.mean == 1.0  # ranks 4 and 1 in turn
    assert found.unpublished_exposure.error == pytest.approx(2 * math.sqrt(1 / 3) / 2)


def test_the_larger_error_of_seeds_and_items_is_kept() -> None:
    found = memorisation([record(0, 0.4), record(1, 0.6)])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    assert found.gap.error == pytest.approx(0.1)  # over seeds
    assert found.unpublished_exposure.error == pytest.approx(math.sqrt(1 / 3) / math.sqrt(2))  # over items
    assert found.seeds == 2


def test_missing_numbers_are_left_out() -> None:
    found = memorisation([record(protected=[None, *model(-2.5, -3.3)[1:]])])
    assert found is not None
    assert found.gap.mean == pytest.approx(0.5)
    assert found.exposure.mean == 2.0
    found = memorisation([record(protected=[None] * len(HARD))])
    assert found is not None
    assert math.isnan(found.gap.mean)
    assert math.isnan(found.exposure.error)


def test_records_that_hold_none_have_none() -> None:
    bare = Record(key="0", status="ok", trial=trial("cloak"))
    assert memorisation([bare]) is None
    found = memorisation([bare, record()])
    assert found is not None
    assert found.seeds == 1


def test_the_number_of_items_follows_from_that_of_values() -> None:
    assert [items_of(values) for values in (8, 18, 32, 72, 0, 1, 10, 73)] == [2, 3, 4, 6, 0, 0, 0, 0]


def test_chance_is_the_mean_over_all_ranks() -> None:
    assert chance(1) == 0.0
    assert chance(2) == 0.5
    assert chance(6) == pytest.approx(math.log2(6) - math.log2(math.factorial(6)) / 6)
