"""Class-wise changes of several kinds."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Epoch, Knowledge
from bench.errors import DataError, UsageError
from bench.metrics.audibility import snr_db

RATE = 8000


def protect(data: Clips, seed: int = 0, knowledge: Knowledge | None = None, **params: Any) -> Clips:
    defense = plugins.build("defenses", "composition", params)
    protected = defense.protect(data, knowledge or Knowledge(), torch.Generator().manual_seed(seed))
    assert isinstance(protected, Clips)
    return protected.check()


def sines(clips: int = 6, classes: int = 3, hz: float = 800.0, channels: int = 1) -> Clips:
    """Half a second of a sine in the middle of a second."""
    time = torch.arange(RATE) / RATE
    audio = 0.2 * torch.sin(2 * torch.pi * hz * time) * ((time - 0.5).abs() < 0.25)
    label = torch.arange(clips) % classes
    names = [str(number) for number in range(classes)]
    return Clips.of(audio.expand(clips, channels, -1).contiguous(), RATE, labels=label, classes=names)


def pitch(clips: Clips) -> torch.Tensor:
    """Frequency in Hz of the strongest partial of each clip."""
    spectrum: torch.Tensor = torch.fft.rfft(clips.audio[:, 0], 8 * RATE)
    return spectrum.abs().argmax(1) / 8


def begins(clips: Clips) -> torch.Tensor:
    """When each clip gets loud, in seconds."""
    return (clips.audio[:, 0].abs() > 0.05).float().argmax(1) / RATE


@pytest.mark.parametrize("kind", ["speed", "formants"])
def test_partials_move_by_a_factor_of_the_class_that_is_evenly_spread(kind: str) -> None:
    data = sines()
    moved = pitch(protect(data, kinds=(kind,), speed=0.1, formant=0.1)) / 800
    assert sorted(moved[:3].tolist()) == pytest.approx([1 - 0.2 / 3, 1.0, 1 + 0.2 / 3], abs=0.01)
    assert torch.allclose(moved[:3], moved[3:], atol=1e-3)


def test_speed_changes_the_duration_about_the_middle_and_formants_do_not() -> None:
    data = sines()
    faster = protect(data, kinds=("speed",), speed=0.3)
    factor = pitch(faster) / 800
    assert torch.allclose(begins(faster), 0.5 - 0.25 / factor, atol=0.005)
    assert torch.allclose(begins(protect(data, kinds=("formants",))), torch.full((6,), 0.25), atol=0.03)


def test_the_tone_has_its_level_and_its_pitch_by_class() -> None:
    data = sines(hz=3000.0, channels=2)
    protected = protect(data, kinds=("tone",), tone_db=15.0)
    assert snr_db(data, protected).tolist() == pytest.approx([15.0] * 6, abs=0.1)
    heard = pitch(data.with_audio(protected.audio - data.audio))
    assert len(set(heard[:3].round().tolist())) == 3
    assert torch.allclose(heard[:3], heard[3:], atol=0.2)
    assert ((heard > 300) & (heard < 1740)).all()


def test_what_a_kind_draws_does_not_depend_on_the_others() -> None:
    data = sines(hz=3000.0)
    alone = protect(data, kinds=("tone",))
    both = protect(data, kinds=("filters", "tone"), decibels=0.0)
    assert torch.allclose(alone.audio, both.audio, atol=1e-4)


def test_energy_and_padding_stay() -> None:
    loud = sets.tones(6, 16000, 1.0)
    data = loud.with_audio(0.4 * loud.audio)
    protected = protect(data, kinds=("speed", "formants", "filters"))
    before, after = (clips.audio.square().sum((1, 2)) for clips in (data, protected))
    assert torch.allclose(before, after, rtol=1e-3)


def test_the_search_takes_the_draw_of_the_largest_loss() -> None:
    data = sets.tones(6, RATE, 0.5)
    log: list[Epoch] = []
    knowledge = Knowledge("white-box", (plugins.build("attackers", "melcnn", {"epochs": 1}),), log=log.append)
    found = protect(data, knowledge=knowledge, search=3)
    losses = [line.loss for line in log]
    assert len(set(losses)) == 3
    best = max(range(3), key=lambda number: losses[number] or 0.0)
    assert torch.equal(found.audio, protect(data, knowledge=knowledge, search=best + 1).audio)
    assert torch.equal(found.audio, protect(data).audio) == (best == 0)  # one draw of the same generator


def test_a_search_needs_surrogates_and_every_draw_needs_labels() -> None:
    with pytest.raises(UsageError, match=r"composition has no surrogate.*or search = 0"):
        protect(sines(), search=2)
    with pytest.raises(DataError, match="no labels"):
        protect(replace(sines(), labels=None, classes=()))


@pytest.mark.parametrize("params", [{"kinds": ("pitch",)}, {"kinds": ()}, {"speed": 0.9}, {"search": -1}, {"bands": 0}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "composition", params)
