"""HarmonyCloak's notes: which cells each mode touches, how loud, and that the game finds what is learned."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench._kit import sets
from bench.api import Attacker, Epoch, Knowledge, Rolls
from bench.errors import UsageError
from bench.metrics.edits import edits
from bench.notes.rolls import Notes, grid, notes_of
from bench.notes.velocities import beginnings

pytestmark = pytest.mark.numeric

MODES = ("velocity", "hold", "ghost")
KNOWN = Knowledge("white-box", (sets.Reader(),))


def protect(data: Rolls, knowledge: Knowledge = KNOWN, seed: int = 0, **parameters: Any) -> Rolls:
    plugin = plugins.build("defenses", "harmonycloak", {"rolls_rounds": 2, **parameters})
    protected: Rolls = plugin.protect(data, knowledge, Generator().manual_seed(seed))
    return protected.check()


def melodies(items: int = 6) -> Rolls:
    data = sets.example("midi", "several", items)
    assert isinstance(data, Rolls)
    return data


def one(rows: list[tuple[int, int, int, int, float]], steps: int = 32, program: int = 0) -> Rolls:
    """A roll of one track from (start, duration, pitch, velocity in MIDI units) rows, the first column the track."""
    notes = Notes.of([(0, track, start, duration, pitch, loud / 127) for track, start, duration, pitch, loud in rows])
    velocity, onset = grid(notes, 1, 1, steps)
    return Rolls(velocity, onset, (program,), ("a",), ("a",), torch.tensor([steps]), torch.tensor([100.0]))


def table(rolls: Rolls) -> list[tuple[int, int, int, int]]:
    """(start, duration, pitch, velocity in MIDI units) in order of time."""
    notes = notes_of(rolls)
    loud = (notes.velocity * 127).round().long()
    return sorted(zip(*(c.tolist() for c in (notes.start, notes.duration, notes.pitch, loud)), strict=True))


def random(data: Rolls, **parameters: Any) -> Rolls:
    return protect(data, Knowledge(), optimise=False, **parameters)


# --- where and how loud


@pytest.mark.parametrize(("bound", "most"), [("paper", 60), ("masked", 24)])
def test_velocity_louder_by_what_is_heard_up_to_the_masker(bound: str, most: int) -> None:
    """A bar whose dominant pitch is 48 (H = 4 at 80 dB), its loudest note 60; 14.5 + 1.3 dB below that is 24.2."""
    data = one([(0, 0, 4, 48, 40), (0, 8, 8, 48, 60), (0, 4, 2, 72, 90), (0, 16, 16, 48, 127)])
    seen = [table(random(data, mode="velocity", bound=bound, seed=seed)) for seed in range(40)]
    assert {row[2][:3] for row in seen} == {(8, 8, 48)}
    assert all((4, 2, 72, 90) in rows for rows in seen), "not the dominant pitch of its window"
    assert all((16, 16, 48, 127) in rows for rows in seen), "127 is the most there is"
    added = [rows[0][3] - 40 for rows in seen] + [rows[2][3] - 60 for rows in seen]
    assert min(added) >= 4
    assert max(added) <= most
    assert max(added) - min(added) > most / 2, "u is drawn over the range"


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_whole_velocities_and_a_note_has_one(mode: str) -> None:
    data = melodies()
    protected = protect(data, mode=mode)
    whole = protected.velocity * 127
    assert torch.allclose(whole, whole.round(), atol=1e-3)
    held = (protected.velocity > 0) & ~beginnings(protected)
    before = torch.nn.functional.pad(protected.velocity, (0, 0, 1, 0))[:, :, :-1]
    assert torch.equal(protected.velocity[held], before[held])


def test_velocity_changes_no_onset_pitch_or_duration() -> None:
    data = melodies()
    protected = protect(data, mode="velocity")
    assert torch.equal(protected.velocity > 0, data.velocity > 0)
    assert torch.equal(protected.onset, beginnings(data))
    assert (protected.velocity >= data.velocity - 1e-6).all()


def test_hold_fills_the_window_with_its_dominant_note() -> None:
    data = one([(0, 2, 4, 60, 64), (0, 8, 2, 60, 50), (0, 0, 4, 72, 30), (0, 16, 16, 65, 70)])
    (first, *others) = table(random(data, mode="hold"))
    assert first[:3] == (0, 2, 60), "before the first onset a new note begins"
    assert [row[:3] for row in others] == [(0, 4, 72), (2, 6, 60), (8, 8, 60), (16, 16, 65)]
    assert others[0][3] == 30
    assert others[1][3] > 64


def test_a_held_note_goes_on_over_the_bar_line() -> None:
    data = one([(0, 4, 20, 60, 64), (0, 28, 2, 60, 64)])
    assert [row[:3] for row in table(random(data, mode="hold"))] == [(0, 4, 60), (4, 24, 60), (28, 4, 60)]


def test_a_ghost_strikes_a_sounding_note_again_for_a_step() -> None:
    data = one([(0, 0, 16, 60, 80)], steps=16)
    rows = table(random(data, mode="ghost", density=1.0, bound="masked"))
    ghosts = [row for row in rows if row[3] != 80]
    assert len(ghosts) == 4
    assert {row[1] for row in ghosts} == {1}
    assert all(row[0] % 4 != 0 and 3 <= row[3] <= 31 for row in ghosts), "off the beat, from H to 17 dB below the note"
    assert sum(row[1] for row in rows) == 16
    assert rows[0][:1] + rows[0][2:] == (0, 60, 80)


def test_density_is_the_share_of_windows_that_get_a_ghost() -> None:
    data = one([(0, start, 4, 60, 80) for start in range(0, 1024, 4)], steps=1024)
    for density in (0.25, 0.75):
        struck = random(data, mode="ghost", density=density)
        ghosts = sum(1 for start, duration, _, loud in table(struck) if start % 4 and duration == 1 and loud != 80)
        assert ghosts / 256 == pytest.approx(density, abs=0.09)


def test_where_nothing_sounds_or_nothing_is_louder_than_what_is_heard_there_is_no_noise() -> None:
    quiet = one([(0, 0, 4, 24, 30)])  # C1 is heard from 33 on
    for mode in MODES:
        assert table(random(quiet, mode=mode)) == table(quiet)
    drums = one([(0, 0, 4, 24, 30)], program=128)  # whose pitch is no frequency
    assert table(random(drums, mode="velocity")) != table(quiet)


# --- the game


def test_without_a_surrogate_it_says_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"harmonycloak has no surrogate that takes midi.*optimise = false"):
        protect(melodies(), Knowledge())


@pytest.mark.parametrize("mode", ["velocity", "hold"])
def test_the_descent_lowers_what_a_surrogate_loses_on_the_set(mode: str) -> None:
    data = melodies(16)
    reader = sets.Reader()
    cloaked, noisy = protect(data, mode=mode, rolls_rounds=30, alpha=0.0), random(data, mode=mode)
    losses = []
    for train in (cloaked, noisy):
        model = reader.learn(train, train, Generator().manual_seed(1))
        with torch.no_grad():
            losses.append(float(reader.loss(model, train).mean()))
    assert losses[0] < 0.9 * losses[1]


def test_the_penalty_alone_leaves_the_least_that_is_heard() -> None:
    blind = plugins.build("attackers", "pianoroll_gru", {"velocity": False, "width": 8}, "smoke")
    data = melodies()
    protected = protect(data, Knowledge("white-box", (blind,)), mode="velocity", rolls_rounds=24, alpha=1.0)
    loud = edits(data, protected)["velocity_change"]
    assert float(loud.max()) < 0.25 * float(edits(data, random(data, mode="velocity"))["velocity_change"].min())


@dataclass(frozen=True)
class OffBeat(Attacker[Rolls]):
    """Loses less the more notes begin at the second step of a beat."""

    domains = ("midi",)
    surrogate_optimizer = "adam"
    made: ClassVar[list[nn.Module]] = []

    def model(self, like: Rolls, rng: Generator) -> nn.Module:
        self.made.append(nn.Linear(1, 1))
        return self.made[-1]

    def loss(self, model: Any, batch: Rolls) -> Tensor:
        begins = beginnings(batch).sum((1, 3)).float()
        share = begins[:, 1::4].sum(1) / begins.sum(1)
        loss: Tensor = 1 - share + 0.0 * model(share[:, None])[:, 0]
        return loss

    def learn(self, train: Any, validation: Any, rng: Generator, **more: Any) -> nn.Module:
        raise NotImplementedError

    def quality(self, model: nn.Module, test: Any) -> Mapping[str, Tensor]:
        raise NotImplementedError


def test_the_search_finds_the_place_that_is_learned() -> None:
    data = one([(0, 0, 64, 60, 80)], steps=64)
    data = replace(
        data,
        **{name: getattr(data, name).repeat(12, 1, 1, 1) for name in ("velocity", "onset")},
        ids=tuple(map(str, range(12))), groups=tuple(map(str, range(12))),
        lengths=data.lengths.repeat(12), tempo=data.tempo.repeat(12),
    )  # fmt: skip
    places = {}
    for optimise in (True, False):
        rolls = protect(
            data, Knowledge("white-box", (OffBeat(),)), mode="ghost", optimise=optimise, rolls_rounds=12, rolls_batch=4
        )
        notes = notes_of(rolls)
        ghosts = notes[(notes.velocity * 127).round() != 80]
        places[optimise] = float((ghosts.start % 4 == 1).float().mean())
    assert places[False] == pytest.approx(1 / 3, abs=0.15)
    assert places[True] > 0.7


class Loud(OffBeat):
    """Loses `unit` less where notes are louder, or more: a loss of any size in any unit."""

    unit: ClassVar[float] = 1.0
    slope: ClassVar[float] = -0.5

    def loss(self, model: Any, batch: Rolls) -> Tensor:
        begins = beginnings(batch)
        mean = (batch.velocity * begins).sum((1, 2, 3)) / begins.sum((1, 2, 3))
        loss: Tensor = self.unit * (1 + self.slope * mean) + 0.0 * model(mean[:, None])[:, 0]
        return loss


def in_unit(unit: float, slope: float) -> Attacker[Rolls]:
    made: Attacker[Rolls] = type("InUnit", (Loud,), {"unit": unit, "slope": slope})()
    return made


def loudness(rolls: Rolls) -> float:
    return float(rolls.velocity[beginnings(rolls)].mean())


def test_a_meta_test_lowers_the_held_out_loss_whatever_the_units() -> None:
    """The gap between 30 nats a frame and 9 a note made the step climb: its factor was 1 + 0.2 * (9 - 30)."""
    data, many = melodies(), in_unit(9.0, -0.5)
    bag = Knowledge("black-box", (in_unit(30.0, -1e-9), many))
    settings: dict[str, Any] = {"mode": "velocity", "pool": 2, "drawn": 2, "rolls_rounds": 4, "alpha": 0.0}
    start, found = random(data, mode="velocity"), protect(data, bag, **settings)
    with torch.no_grad():
        losses = [float(many.loss(nn.Linear(1, 1), rolls).mean()) for rolls in (start, found)]
    assert losses[1] < losses[0]


def test_of_several_surrogates_each_counts_by_its_relative_loss() -> None:
    """One loss falls by a third where notes are louder, the other, a hundred times larger, rises by a hundredth."""
    data, bag = melodies(), (in_unit(1.0, -0.33), in_unit(100.0, 0.01))
    found = protect(data, Knowledge("ensemble", bag), mode="velocity", alpha=0.0, rolls_rounds=4)
    assert loudness(found) > loudness(random(data, mode="velocity"))


def test_against_a_surrogate_without_velocities_hold_is_not_optimised_and_says_so() -> None:
    def last(mode: str, surrogate: Attacker[Rolls]) -> dict[str, float]:
        lines: list[Epoch] = []
        protect(melodies(), Knowledge("white-box", (surrogate,), log=lines.append), mode=mode)
        return lines[-1].numbers()

    reading, blind = (
        plugins.build("attackers", "pianoroll_gru", {"velocity": velocity, "width": 8}, "smoke")
        for velocity in (True, False)
    )
    found = last("hold", blind)
    assert found["optimised"] == 0
    assert found["noise_effect"] == found["start_effect"] != 0, "held notes are read, their velocities are not"
    assert last("hold", reading)["optimised"] == 1
    assert last("ghost", blind)["optimised"] == 0, "it reads no onsets"
    assert last("ghost", OffBeat())["optimised"] == 1


def test_black_box_draws_from_a_pool_of_fresh_models_and_logs_every_round() -> None:
    lines: list[Epoch] = []
    OffBeat.made.clear()
    data = melodies()
    bag = Knowledge("black-box", (OffBeat(), sets.Reader()), log=lines.append)
    first = protect(data, bag, mode="hold", pool=5, drawn=3)
    assert len(OffBeat.made) == 3  # of five, in turn with the other architecture
    assert [line.step for line in lines] == [1, 2]
    assert all(line.loss is not None for line in lines)
    again = protect(data, bag, mode="hold", pool=5, drawn=3)
    assert torch.equal(first.velocity, again.velocity)
    assert not torch.equal(first.velocity, protect(data, mode="hold").velocity)
