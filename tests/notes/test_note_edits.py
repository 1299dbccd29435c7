"""Notes go back into rolls, are dealt within their groups, and are held no further than they may be."""

from collections.abc import Sequence

import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.note_edits import cells_of, dealt, lengthened, maskers, medians, ranks, to_rolls
from bench.notes.rolls import DRUMS, Notes, grid, notes_of
from bench.notes.velocities import beginnings
from bench.sound.masking import hz_to_bark


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rolls(rows: Sequence[tuple[int, ...]], count: int = 1, tracks: int = 1, steps: int = 16, lowest: int = 24) -> Rolls:
    """Rows (roll, track, start, duration, pitch, MIDI velocity); the first track is of drums where there are two."""
    notes = Notes.of([(*row[:5], row[5] / 127) for row in rows])
    velocity, onset = grid(notes, count, tracks, steps, lowest, 84)
    names = tuple("abcd"[:count])
    lengths, tempo = torch.full((count,), steps), torch.full((count,), 120.0)
    programs = (0,) if tracks == 1 else (DRUMS, *[0] * (tracks - 1))
    return Rolls(velocity, onset, programs, names, names, lengths, tempo, lowest=lowest)


def table(notes: Notes) -> list[tuple[int, ...]]:
    loud = (notes.velocity * 127).round().long()
    columns = (notes.roll, notes.track, notes.start, notes.duration, notes.pitch, loud)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_notes_go_back_into_rolls_whatever_their_order() -> None:
    rows = [(0, 0, 0, 4, 60, 80), (0, 0, 4, 1, 60, 20), (0, 1, 3, 9, 67, 90), (1, 0, 15, 1, 24, 1), (1, 1, 0, 16, 107, 127)]  # fmt: skip  # noqa: E501
    data = rolls(rows, count=2, tracks=2)
    notes = notes_of(data)
    again = to_rolls(notes[torch.randperm(len(notes), generator=rng())], data)
    assert torch.equal(again.velocity, data.velocity)
    assert torch.equal(again.onset, beginnings(data))
    assert (data.velocity[cells_of(notes, data)] == notes.velocity).all()


def test_what_lies_in_the_padding_is_cut_and_a_pitch_out_of_range_is_refused() -> None:
    data = rolls([(0, 0, 0, 4, 60, 80)])
    short = Rolls(**(vars(data) | {"lengths": torch.tensor([6])}))
    notes = Notes.of([(0, 0, 4, 9, 60, 0.5), (0, 0, 6, 2, 61, 0.5), (0, 0, 9, 1, 62, 0.5)])
    assert table(notes_of(to_rolls(notes, short).check())) == [(0, 0, 4, 2, 60, 64)]
    with pytest.raises(DataError, match=r"expected 24\.\.107"):
        to_rolls(Notes.of([(0, 0, 0, 1, 12, 0.5)]), data)


def test_ranks_number_every_group_at_random() -> None:
    group = torch.tensor([2, 0, 2, 2, 0, 5])
    seen = [ranks(group, rng(seed)) for seed in range(400)]  # one of the 12 is missed with p = 12 (11 / 12)^400 < 1e-13
    for one in seen:
        assert sorted(one[group == 2].tolist()) == [0, 1, 2]
        assert sorted(one[group == 0].tolist()) == [0, 1]
        assert one[group == 5].tolist() == [0]
    assert len({tuple(one.tolist()) for one in seen}) == 12, "every order there is"
    assert len(ranks(torch.zeros(0, dtype=torch.int64), rng())) == 0


def test_what_is_dealt_stays_in_its_group_and_fits_where_it_can() -> None:
    group = torch.arange(400) % 4
    place = dealt(group, rng())
    assert torch.equal(place.sort().values, torch.arange(400))
    assert torch.equal(group[place], group)
    assert (place != torch.arange(400)).float().mean() > 0.9
    # The first half may not have a value from the second quarter of its group: possible, and unlikely by chance alone.
    value = torch.arange(400) // 100
    place = dealt(group, rng(), lambda at: (torch.arange(400) < 200) & (value[at] == 1))
    assert not (value[place][:200] == 1).any()
    assert torch.equal(value[place].sort().values, value)


def test_medians_are_the_groups_own() -> None:
    values = torch.tensor([5.0, 1.0, 9.0, 2.0, 4.0, 7.0])
    assert medians(values, torch.tensor([0, 3, 0, 3, 3, 0])).tolist() == [7, 2, 7, 2, 2, 7]
    assert medians(torch.tensor([1.0, 2.0]), torch.tensor([0, 0])).tolist() == [1, 1]


def test_notes_are_held_until_so_many_cells_sound_more() -> None:
    data = rolls([(0, 0, 0, 2, 60, 80), (0, 0, 4, 2, 60, 80), (0, 0, 0, 2, 64, 80), (1, 0, 0, 16, 60, 80)], count=2)
    notes = notes_of(data)
    before = (data.velocity > 0).sum((1, 2, 3))
    for seed in range(10):
        held = to_rolls(lengthened(notes, data, torch.tensor([7, 3]), torch.tensor([4, 4]), rng(seed)), data)
        assert ((held.velocity > 0).sum((1, 2, 3)) - before).tolist() == [7, 0], "the second has no room"
        more = (notes_of(held).duration - notes.duration)[:3]
        assert more.max() <= 4
        assert notes_of(held).duration[0] <= 4, "not into the next note of its pitch"
    assert len({tuple(lengthened(notes, data, torch.tensor([3, 0]), torch.tensor([3, 0]), rng(s)).duration.tolist()) for s in range(9)}) > 1  # fmt: skip  # noqa: E501


def test_bounds_follow_the_threshold_and_the_loudest_dominant_note() -> None:
    data = rolls([(0, 0, 0, 1, 36, 90), (0, 1, 0, 2, 24, 60), (0, 1, 2, 2, 24, 100), (0, 1, 0, 1, 60, 127)], tracks=2)
    bounds = maskers(data, 4, offset_db=16.0)
    assert bounds.pitch[0, :, 0].tolist() == [12, 0]
    assert bounds.pitch[0, :, 1].tolist() == [-1, -1]
    assert (bounds.low[0, :, 0] * 127).tolist() == pytest.approx([1, 33]), "drums have no frequency; C1 has"
    assert (bounds.high[0, :, 0] * 127).tolist() == pytest.approx([90 * 10**-0.4, 100 * 10**-0.4])
    by_bark = maskers(data, 4, offset_db=14.5, bark_db=1.0).high[0, :, 0] * 127
    offsets = [14.5, 14.5 + float(hz_to_bark(torch.tensor(32.703)))]  # C1
    assert by_bark.tolist() == pytest.approx(
        [loud * 10 ** (-x / 40) for loud, x in zip((90, 100), offsets, strict=True)]
    )
    assert bounds.open[0].tolist() == [[True, False, False, False], [True, False, False, False]]
    notes = notes_of(data)
    chosen, low, high = bounds.at_notes(notes, data.lowest)
    assert table(notes[chosen]) == [(0, 0, 0, 1, 36, 90), (0, 1, 0, 2, 24, 60), (0, 1, 2, 2, 24, 100)]
    assert (high[chosen] > low[chosen]).all()
