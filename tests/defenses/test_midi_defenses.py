"""Defenses of rolls without a surrogate, and the two controls: bounds, places, codes, and what stays as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Knowledge, Rolls
from bench.errors import DataError
from bench.metrics.edits import edits
from bench.notes.restrikes import remerge, threshold_velocity
from bench.notes.rolls import DRUMS, Notes, grid, notes_of, read_midi, write_midi
from bench.notes.velocities import beginnings


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rolls(*rows: tuple[int, ...], programs: tuple[int, ...] = (0,), steps: int = 16) -> Rolls:
    """One roll from rows (track, start, duration, pitch, MIDI velocity)."""
    notes = Notes.of([(0, *row[:4], row[4] / 127) for row in rows])
    velocity, onset = grid(notes, 1, len(programs), steps)
    return Rolls(velocity, onset, programs, ("a",), ("a",), torch.tensor([steps]), torch.tensor([120.0]))


def protected(name: str, data: Rolls, given: dict[str, Any] | None = None, seed: int = 0, reference: Any = None) -> Any:
    knowledge = Knowledge(reference=reference)
    return plugins.build("defenses", name, given or {}).protect(data, knowledge, rng(seed)).check(name)


def loudness(data: Rolls) -> torch.Tensor:
    return (notes_of(data).velocity * 127).round().long()


@pytest.fixture(scope="module", params=["chorales", "band"])
def music(request: pytest.FixtureRequest) -> Rolls:
    loaded: Rolls = plugins.build("datasets", request.param, {"domain": "midi", "rolls": 40}, "smoke").load("train")
    whole = (loaded.velocity * 127).round() / 127  # as a file holds them
    return replace(loaded, velocity=whole)


# --- random velocities


@pytest.mark.parametrize(("bound", "kappa"), [("paper", 1.0), ("masked", 10 ** (-(14.5 + 0.65) / 40))])
def test_random_velocities_are_within_the_bounds(bound: str, kappa: float) -> None:
    rows = [(0, i, 1, 36, 60) for i in range(16)] + [(0, 0, 1, 60, 50), (1, 0, 16, 24, 30), (2, 0, 16, 24, 30)]
    data = rolls(*rows, programs=(0, 0, DRUMS))
    low, high = int(threshold_velocity(torch.tensor(36))), kappa * 60
    seen = torch.stack([loudness(protected("random_velocity", data, {"bound": bound}, seed)) for seed in range(50)])
    change = seen - loudness(data)
    first = change[:, :16]
    assert (first >= low).all()
    assert (first <= high + 0.5).all()
    assert first.float().std() > 3
    assert not change[:, 16].any(), "not the dominant pitch"
    assert not change[:, 17].any(), "too soft for its own threshold"
    assert change[:, 18].float().mean() > 5 * kappa, "of drums the threshold is 1"


def test_random_velocities_change_no_note(music: Rolls) -> None:
    changes = edits(music, protected("random_velocity", music))
    assert all(not changes[f"notes_{what}"].any() for what in ("added", "removed", "altered"))
    assert (changes["velocity_change"] > 5).all()


# --- ghosts


def test_random_ghosts_are_inside_the_dominant_note_off_the_beat() -> None:
    rows = [(0, 0, 8, 60, 100), (0, 0, 8, 64, 90), (0, 8, 4, 62, 80), (0, 12, 1, 65, 80)]
    data = rolls(*rows)
    places = torch.stack([protected("ghosts", data, {"density": 1.0}, s).onset for s in range(40)])[:, 0, 0]
    clean = beginnings(data)[0, 0]
    ghost = places & ~clean
    assert not ghost[:, :, [64, 65]].any(), "softer, and a note of a single step"
    assert ghost[:, :8, 60].any(0).nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6, 7], "4: what goes on after 3"
    begun = protected("ghosts", data, {"density": 1.0, "level": "equal"})
    assert set(loudness(begun).tolist()) == {100, 90, 80, 40, 32}
    quiet = [loudness(protected("ghosts", data, {"density": 1.0}, s)).min().item() for s in range(20)]
    assert min(quiet) >= threshold_velocity(torch.tensor(60))
    assert len(set(quiet)) > 5


def test_fixed_ghosts_are_always_at_the_same_place() -> None:
    data = rolls((0, 0, 64, 60, 100), steps=64)
    steps = (protected("ghosts", data, {"pattern": "fixed"}).onset[0, 0, :, 60]).nonzero().flatten().tolist()
    assert steps == [0, *(step + k for step in range(6, 64, 8) for k in (0, 1))]
    every = protected("ghosts", data, {"pattern": "fixed", "density": 1.0, "place": 0.75}).onset[0, 0, :, 60]
    assert every.nonzero().flatten().tolist() == [0, *(s + k for s in range(3, 64, 4) for k in (0, 1) if s + k < 64)]
    third = protected("ghosts", data, {"pattern": "fixed", "density": 0.25}).onset[0, 0, :, 60]
    assert third.sum() == 1 + 2 * 4


def test_density_is_the_share_of_beats_where_a_ghost_can_be() -> None:
    data = rolls((0, 0, 4000, 60, 100), steps=4000)
    for density in (0.1, 0.5, 1.0):
        ghosts = (loudness(protected("ghosts", data, {"density": density})) < 100).sum() / 1000
        assert float(ghosts) == pytest.approx(density, abs=0.05)


def test_ghosts_survive_a_file_and_the_rule_that_undoes_them(music: Rolls, tmp_path: Path) -> None:
    made = protected("ghosts", music)
    assert (edits(music, made)["notes_added"].nanmean()) > 0.2
    write_midi(made, 5, tmp_path / "a.mid")
    again = read_midi(tmp_path / "a.mid", music.steps_per_beat)
    inside = slice(music.lowest, music.lowest + music.velocity.shape[3])
    assert torch.equal(again.onset[0, :, :, inside], beginnings(made)[5, :, : again.onset.shape[2]])
    assert torch.equal(remerge(made).velocity > 0, music.velocity > 0)
    wrong = (remerge(made).onset != beginnings(music)).sum() / beginnings(music).sum()
    assert wrong < 0.02


# --- the look-ahead code


def test_every_velocity_says_the_next_pitch_class(music: Rolls) -> None:
    made = protected("lookahead", music, {"key": 5})
    notes, before = notes_of(made), notes_of(music)
    order = torch.argsort(((notes.roll * 1000 + notes.start) * 10 + notes.track) * 128 + notes.pitch)
    notes, before = notes[order], before[order]
    said = (notes.velocity * 127).round().long()
    change = said - (before.velocity * 127).round().long()
    followed = notes.roll[1:] == notes.roll[:-1]
    assert torch.equal(said[:-1][followed] % 17, ((notes.pitch[1:] % 12 + 5) % 17)[followed])
    assert not change[:-1][~followed].any(), "the last note of a roll has nothing to say"
    assert not change[-1]
    assert change.abs().max() == 8
    assert 3.5 < change.abs().float().mean() < 5
    assert torch.equal(made.onset, beginnings(music))


def test_the_code_stays_within_midi_velocities() -> None:
    for loud in (1, 2, 126, 127):
        rows = [(0, i, 1, 60 + (5 * i) % 12, loud) for i in range(16)]
        said = loudness(protected("lookahead", rolls(*rows)))
        assert said.min() >= 1
        assert said.max() <= 127
        assert (said - loud).abs().max() <= 16


# --- noise


def test_plain_noise_is_gaussian_and_changes_no_note(music: Rolls) -> None:
    made = protected("noise", music, {"velocity_sd": 6.0})
    change = (loudness(made) - loudness(music)).double()
    assert float(change.std()) == pytest.approx(6.0, rel=0.05)
    assert abs(float(change.mean())) < 0.3
    assert torch.equal(made.onset, beginnings(music))
    assert torch.equal(made.velocity > 0, music.velocity > 0)


def changes_of(clean: Rolls, other: Rolls, roll: int) -> list[int]:
    both = notes_of(clean)
    mine = both.roll == roll
    return sorted((loudness(other) - loudness(clean))[mine].tolist())


def test_matched_noise_deals_the_references_changes_to_other_notes(music: Rolls) -> None:
    reference = protected("random_velocity", music, {"bound": "masked"}, seed=9)
    made = protected("noise", music, reference=reference.select(list(range(len(music)))[::-1]))
    assert changes_of(music, made, 3) == changes_of(music, reference, 3)
    assert not torch.equal(made.velocity[3], reference.velocity[3])


def test_matched_noise_strikes_as_many_notes_again_as_loud(music: Rolls) -> None:
    reference = protected("ghosts", music, {"level": "equal"}, seed=9)
    made = protected("noise", music, reference=reference)
    asked, got = edits(music, reference), edits(music, made)
    assert not got["velocity_change"].nan_to_num().any()
    assert not got["sounding_change"].any()
    assert float(got["notes_added"].mean()) == pytest.approx(float(asked["notes_added"].mean()), rel=0.1)
    assert (made.onset != reference.onset).flatten(1).any(1).float().mean() > 0.9
    # The ghosts are those notes that neither began before nor sound as loud as the note that they are in.
    soft = [sorted(loudness(x)[(notes_of(x).roll == 3) & _within(x, music)].tolist()) for x in (reference, made)]
    assert soft[0] == soft[1]
    assert soft[0]


def _within(data: Rolls, clean: Rolls) -> torch.Tensor:
    notes = notes_of(data)
    at = (notes.roll, notes.track, notes.start, notes.pitch - data.lowest)
    return ~beginnings(clean)[at] & (data.velocity[at] != clean.velocity[at])


def test_matched_noise_holds_as_many_cells(music: Rolls) -> None:
    cloak = plugins.build("defenses", "harmonycloak", {"mode": "hold", "optimise": False})
    reference = cloak.protect(music, Knowledge(), rng(9))
    made = protected("noise", music, reference=reference)
    cells = [((x.velocity > 0) & (music.velocity == 0)).sum((1, 2, 3)) for x in (reference, made)]
    assert cells[1].sum() > 0.98 * cells[0].sum()
    assert (cells[1] <= cells[0]).all()
    assert not ((made.velocity == 0) & (music.velocity > 0)).any()
    assert not edits(music, made)["notes_removed"].any()


def test_a_reference_that_changed_nothing_changes_nothing(music: Rolls) -> None:
    made = protected("noise", music, reference=music)
    assert torch.equal(made.velocity, music.velocity)
    assert torch.equal(made.onset, beginnings(music))


def test_a_reference_of_other_rolls_is_refused(music: Rolls) -> None:
    with pytest.raises(DataError, match="lacks clip"):
        protected("noise", music, reference=music.select(range(3)))


# --- scramble


def test_scrambled_rolls_keep_pitches_and_durations_and_no_order(music: Rolls) -> None:
    made = protected("scramble", music)
    old, new = notes_of(music), notes_of(made)
    for track, program in enumerate(music.programs):
        before, after = (torch.bincount(x.pitch[x.track == track], minlength=128).double() for x in (old, new))
        lost = float((before - after).sum() / before.sum())
        assert 0 <= lost < (0.03 if program == DRUMS else 0.002)
        assert (before - after).abs().sum() <= 0.031 * before.sum()
    assert torch.equal(made.lengths, music.lengths)
    both = (beginnings(made) & beginnings(music)).sum() / beginnings(music).sum()
    assert both < 0.3
    assert (new.duration.double().mean() / old.duration.double().mean()).item() == pytest.approx(1.0, abs=0.2)


def test_pitches_are_dealt_among_all_rolls_of_the_set(music: Rolls) -> None:
    def pitches(made: Rolls) -> torch.Tensor:  # [roll, pitch]
        notes = notes_of(made)
        return torch.stack([torch.bincount(notes.pitch[notes.roll == at], minlength=128) for at in range(len(made))])

    before, within, among = (
        pitches(made).double()
        for made in (music, protected("scramble", music), protected("scramble", music, {"scope": "set"}))
    )
    assert float((within - before).abs().sum() / before.sum()) < 0.03
    assert float((among - before).abs().sum() / before.sum()) > 0.2, "a roll has the pitches of others"
    assert float((among - before).sum(0).abs().sum() / before.sum()) < 0.03


def test_tracks_are_scrambled_apart_and_whole_beats_stay_together() -> None:
    bars = [(track, s, 1, 60 + s, 80) for track in (0, 1) for s in range(0, 64, 4)]
    made = protected("scramble", rolls(*bars, programs=(0, 0), steps=64), {"segment_steps": 4})
    begun = [made.onset[0, track].any(1).nonzero().flatten() for track in (0, 1)]
    assert all((steps % 4 == 0).all() and len(steps) == 16 for steps in begun)
    pitches = [made.onset[0, track].nonzero()[:, 1].tolist() for track in (0, 1)]
    assert pitches[0] != pitches[1]
    assert sorted(pitches[0]) == sorted(pitches[1])
