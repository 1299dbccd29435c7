"""What a seed draws: published and granted items apart, balanced, whole groups, nested beginnings."""

from collections import Counter

import pytest
import torch

from bench.api import Clips
from bench.errors import DataError
from bench.trials.draws import draw
from bench.trials.stages import generator


def clips(groups: int, a_group: int, classes: int = 0) -> Clips:
    """Return a set with so many items in each group; the classes take turns."""
    count = groups * a_group
    labels = torch.arange(count) % classes if classes else None
    return Clips.of(
        torch.zeros(count, 1, 8),
        8000,
        groups=[f"song {at // a_group}" for at in range(count)],
        labels=labels,
        classes=[str(at) for at in range(classes)],
    )


def test_nothing_is_drawn_twice_and_half_of_the_granted_items_is_for_choosing() -> None:
    drawn = draw(clips(6, 10, classes=3), published=30, granted=9, rng=generator("draw", 0))
    indices = torch.cat([drawn.published, drawn.choosing, drawn.training]).tolist()
    assert len(set(indices)) == len(indices) == 39
    assert (len(drawn.choosing), len(drawn.training)) == (5, 4)


@pytest.mark.parametrize("size", [3, 7, 15, 30])
def test_every_beginning_of_the_published_items_is_balanced_over_the_classes(size: int) -> None:
    data = clips(6, 10, classes=3)
    drawn = draw(data, published=30, granted=9, rng=generator("draw", 1))
    assert data.labels is not None
    counts = Counter(data.labels[drawn.published[:size]].tolist())
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == 3


def test_another_seed_draws_other_items_and_the_same_seed_the_same() -> None:
    first, again, other = (draw(clips(6, 10), 20, 8, generator("draw", seed)).published.tolist() for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)


def test_a_smaller_published_set_is_a_beginning_of_a_larger_one() -> None:
    small, large = (draw(clips(12, 5), count, 8, generator("draw", 0)).published.tolist() for count in (10, 40))
    assert small == large[:10]


def test_from_ten_groups_on_no_group_is_granted_and_published() -> None:
    data = clips(12, 5)
    drawn = draw(data, published=40, granted=12, rng=generator("draw", 0))
    granted = [data.groups[at] for at in torch.cat([drawn.choosing, drawn.training])]
    published = {data.groups[at] for at in drawn.published}
    assert len(granted) == 12
    assert sorted(Counter(granted).values()) == [2, 5, 5]  # whole groups, the last one cut
    assert not published & set(granted)


def test_a_set_that_is_too_small_is_refused() -> None:
    with pytest.raises(DataError, match="leave 51 to publish beside 9 granted, expected at least 52"):
        draw(clips(6, 10), published=52, granted=9, rng=generator("draw", 0))


def test_nothing_may_be_granted() -> None:
    for groups in (6, 12):
        drawn = draw(clips(groups, 5), published=20, granted=0, rng=generator("draw", 0))
        assert (len(drawn.published), len(drawn.choosing), len(drawn.training)) == (20, 0, 0)
