"""Features, overlapped areas and the reference rows: bounded, of the right shape, and wrong where they have to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics import symbolic_events
from bench.metrics.symbolic import describe
from bench.metrics.symbolic_sets import features, overlapped_area, random_notes, shuffled_tracks
from bench.notes.rolls import DRUMS, notes_of

Make = Callable[..., Rolls]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def band() -> Rolls:
    from bench import plugins

    rolls = plugins.build("datasets", "band", {"domain": "midi"}, "smoke").load("train")
    assert isinstance(rolls, Rolls)
    return rolls


def test_features_are_bounded_and_one_row_a_roll(band: Rolls, make_rolls: Make) -> None:
    found = features(band)
    # Tracks: EB, notes a bar, polyphony, duration; melodic ones: QN, UPC; two histograms; DP; TD.
    assert found.shape == (len(band), 5 * 4 + 4 * 2 + 4 * 12 + 5 * 16 + 1 + 6)
    assert found.dtype == torch.float32
    assert bool(((found >= 0) & (found <= 1)).all())
    assert float(found.std(0).max()) > 0.1
    silent = features(make_rolls([], "drums piano bass"))
    close = torch.tensor([1, 1, 1, 0.5, 0.5, *[0] * (2 + 3 + 3 + 3 + 24 + 48), 0.5, 0.5])
    torch.testing.assert_close(silent[0], close)


def test_features_do_not_depend_on_the_others_in_the_set(band: Rolls, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = features(band)[5:9]
    monkeypatch.setattr(symbolic_events, "_CELLS_PER_BLOCK", 1)
    torch.testing.assert_close(features(band.select([5, 6, 7, 8])), expected)


def test_features_tell_real_music_from_the_reference_rows(band: Rolls) -> None:
    """Energy distance of halves: the other half of the band is nearer than random notes are.

    Over eight seeds random notes lie at .46 to .55, the other half at .026 to .084: at least 6.5 times as far.
    """
    half = len(band) // 2
    real, other = features(band.select(range(half))), features(band.select(range(half, len(band))))
    noise = features(random_notes(band, generator()).select(range(half)))

    def energy(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())

    assert energy(real, noise) > 3 * energy(real, other) > 0


def test_random_notes_keep_number_duration_and_velocity(band: Rolls) -> None:
    found = random_notes(band, generator()).check()
    assert (found.ids, found.programs) == (band.ids, band.programs)
    old, new = notes_of(band), notes_of(found)
    for name in ("roll", "track", "duration", "velocity"):
        key = [(getattr(notes, name) * 127).long() + 1000 * (notes.roll * 5 + notes.track) for notes in (old, new)]
        assert torch.equal(key[0].sort()[0], key[1].sort()[0]), name
    for kind in (True, False):
        tracks = torch.tensor([(program == DRUMS) == kind for program in band.programs])
        used = [set(notes.pitch[tracks[notes.track]].tolist()) for notes in (old, new)]
        assert used[0] == used[1]
    steps = torch.bincount(new.start % 16, minlength=16).double()
    assert (
        float(steps.std() / steps.mean()) < 0.15 < float(torch.bincount(old.start % 16).double().std() / steps.mean())
    )
    assert describe(found)["scale consistency"] < 0.85 < describe(band)["scale consistency"]
    assert torch.equal(found.velocity, random_notes(band, generator()).velocity)
    assert not torch.equal(found.velocity, random_notes(band, generator(1)).velocity)


def test_random_notes_stay_within_their_rolls(make_rolls: Make) -> None:
    rows = [(roll, 0, start, 4, 60) for roll, most in ((0, 32), (1, 12)) for start in range(0, most, 4)]
    found = random_notes(make_rolls(rows, rolls=2, steps=32, lengths=torch.tensor([32, 12])), generator()).check()
    assert len(notes_of(found)) > 0
    empty = random_notes(make_rolls([]), generator())
    assert len(notes_of(empty)) == 0


def test_shuffled_tracks_come_from_different_rolls_once_each(make_rolls: Make) -> None:
    """Every roll has its number as pitch."""
    rows = [(roll, track, 0, 4, 40 + roll) for roll in range(6) for track in range(3)]
    rolls = make_rolls(rows, "drums piano bass", rolls=6)
    notes = notes_of(shuffled_tracks(rolls, generator()).check())
    source = notes.pitch.reshape(6, 3) - 40
    assert torch.equal(source[:, 0], torch.arange(6))
    assert all(len(set(row)) == 3 for row in source.tolist())
    assert torch.equal(source.sort(0)[0], torch.arange(6)[:, None].expand(6, 3))
    with pytest.raises(DataError, match="2 rolls of 3 tracks"):
        shuffled_tracks(rolls.select([0, 1]), generator())


def test_shuffled_tracks_are_cut_at_their_new_length(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, 0, 16, 60), (0, 1, 0, 16, 48)], "piano bass", rolls=2)
    found = shuffled_tracks(replace(rolls, lengths=torch.tensor([16, 8])), generator()).check()
    assert notes_of(found).duration.tolist() == [16, 8]


def test_shuffling_keeps_what_tracks_are_and_loses_what_they_share(band: Rolls) -> None:
    real, found = describe(band), describe(shuffled_tracks(band, generator()))
    assert found["UPC[bass]"] == pytest.approx(real["UPC[bass]"])
    assert found["TD[bass-piano]"] > real["TD[bass-piano]"] + 0.1
    assert found["scale consistency"] < real["scale consistency"]


def test_overlapped_area_of_the_same_shifted_and_narrow_sets() -> None:
    rng = generator()
    a, same = torch.randn(150, generator=rng), torch.randn(150, generator=rng)
    assert overlapped_area(a, same) > 0.9
    assert overlapped_area(a, same + 1.5) < 0.8
    assert overlapped_area(a, same + 20) == pytest.approx(0.0, abs=1e-3)
    assert overlapped_area(a, torch.zeros(100)) < 0.9
    many = torch.randn(300, 6, generator=rng)
    assert overlapped_area(many[:150], many[150:]) > 0.9
    assert overlapped_area(a[:, None], same[:, None]) == pytest.approx(overlapped_area(a, same))


def test_overlapped_area_by_hand() -> None:
    """Three distances of either kind, a normal density on each, the width after Scott."""
    from scipy.stats import norm

    a = torch.tensor([0.0, 1.0, 3.0])  # distances 1, 2, 3
    b = torch.tensor([-1.0])  # distances 1, 2, 4
    x = torch.linspace(-10, 15, 20001, dtype=torch.float64).numpy()
    densities = []
    for distances in ([1.0, 3.0, 2.0], [1.0, 2.0, 4.0]):
        values = torch.tensor(distances).double()
        width = float(values.std()) * 3 ** (-1 / 5)
        densities.append(sum(norm.pdf(x, float(value), width) for value in values) / 3)
    expected = torch.trapezoid(
        torch.minimum(*(torch.from_numpy(density) for density in densities)), torch.from_numpy(x)
    )
    assert overlapped_area(a, b) == pytest.approx(float(expected), abs=1e-4)


def test_overlapped_area_without_a_density() -> None:
    constant = torch.ones(10)
    assert overlapped_area(constant, torch.ones(5)) == 1.0
    assert overlapped_area(constant, torch.zeros(5)) == 0.0
    assert overlapped_area(torch.randn(20, generator=generator()), torch.full((5,), 1e6)) < 1e-6
    with pytest.raises(DataError, match="expected at least 3 and 1"):
        overlapped_area(torch.zeros(2), torch.zeros(5))
    with pytest.raises(DataError, match="NaN"):
        overlapped_area(torch.full((4,), float("nan")), torch.zeros(5))
