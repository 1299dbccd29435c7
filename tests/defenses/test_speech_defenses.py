"""Speech defenses on what comes up: 8 and 16 kHz, mono and stereo, one class, one clip; and what each promises."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Knowledge
from bench.errors import DataError, UsageError
from bench.metrics.audibility import correlation, snr_db
from bench.sound.segments import stepped_mask

pytestmark = pytest.mark.numeric

CRAFTED: dict[str, dict[str, Any]] = {
    "constant_epsilon": {"rounds": 1},
    "dynamic_epsilon": {"rounds": 1},
    "error_maximizing": {"steps": 2},
    "universal": {"steps": 3},
    "signal_copy": {"rounds": 1, "noise_steps": 5},
    "loop": {"steps": 3, "restart": 2},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *CRAFTED.items(),
    ("constant_epsilon", {"rounds": 1, "per": "class"}),
    ("constant_epsilon", {"rounds": 1, "alternation": "joint"}),
    ("dynamic_epsilon", {"rounds": 1, "mask": "continuous"}),
    ("error_maximizing", {"steps": 1, "step": 1.0, "targeted": False}),
    ("universal", {"steps": 3, "per": "class", "targeted": True}),
    *(("separable", {"kind": kind}) for kind in ("noise", "tones", "lsp", "ar", "eq")),
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def protect(name: str, params: dict[str, Any], data: Clips, seed: int = 0, *surrogates: Any) -> Clips:
    defense = plugins.build("defenses", name, params)
    chosen = surrogates or (plugins.build("attackers", "m5", {"epochs": 1}),)
    protected = defense.protect(data, Knowledge("white-box", chosen), rng(seed))
    assert isinstance(protected, Clips)
    return protected


def spoken(rate: int = 8000, clips: int = 4, channels: int = 1) -> Clips:
    return sets.tones(clips, rate, 0.5, channels)


@pytest.mark.parametrize(("name", "params"), VARIANTS)
@pytest.mark.parametrize(("rate", "channels", "clips"), [(8000, 1, 4), (16000, 2, 4), (8000, 2, 1), (16000, 1, 1)])
def test_any_speech_is_protected(name: str, params: dict[str, Any], rate: int, channels: int, clips: int) -> None:
    data = spoken(rate, clips, channels)
    protected = protect(name, params, data).check()
    assert protected.ids == data.ids
    assert protected.audio.shape == data.audio.shape
    assert (protected.audio != data.audio).flatten(1).any(1).all()
    bound = getattr(plugins.build("defenses", name, params), "epsilon", None)
    if bound is not None:
        assert float((protected.audio - data.audio).abs().max()) <= bound + 1e-6


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_one_class_alone_is_no_error(name: str, params: dict[str, Any]) -> None:
    """A classifier of one class has no loss, hence no gradient and no noise; a mark needs no gradient."""
    data = spoken()
    alone = replace(data, labels=torch.zeros(4).long(), classes=("only",))
    changed = (protect(name, params, alone).check().audio != data.audio).any()
    assert bool(changed) == (name in {"separable", "signal_copy", "loop"})


def test_class_noise_is_one_noise_for_a_class() -> None:
    data = spoken()
    noise = protect("constant_epsilon", {"per": "class", "rounds": 1, "epsilon": 0.01}, data).audio - data.audio
    heard = data.support[0] & data.support[2]
    assert torch.allclose((noise[0] * heard), (noise[2] * heard), atol=1e-6)
    assert not torch.allclose(noise[0] * heard, noise[1] * heard, atol=1e-3)


def test_dynamic_noise_stays_under_the_mask() -> None:
    data = spoken()
    noise = (protect("dynamic_epsilon", {"rounds": 2}, data).audio - data.audio).abs()
    assert bool((noise <= 0.13 * stepped_mask(data.audio, 400) + 1e-6).all())
    assert float(noise.max()) > 0.05


def test_the_signal_copy_is_a_copy_and_the_others_are_not() -> None:
    """Over 12 seeds the mean correlation of the copies is .63 (SD .02) and of error-minimising noise .16 (SD .02); the
    threshold lies between, over ten SD from either.
    """
    data = spoken()
    copy = protect("signal_copy", {"mask": "constant"}, data)
    honest = protect("constant_epsilon", {"epsilon": 0.13}, data)
    assert float(correlation(data, copy).mean()) > 0.4
    assert float(correlation(data, honest).mean().abs()) < 0.4
    # A descent of 20 steps of bound / 25 from the clipped recording cannot undo a whole bound, so every loud sample
    # keeps its sign. Noise that knows nothing of the sign keeps half of them: .53 to .61 over 12 seeds.
    loud = data.audio.abs() > 0.13
    assert float(_kept_signs(data, copy, loud)) == 1.0
    assert float(_kept_signs(data, honest, loud)) < 0.75


def _kept_signs(data: Clips, protected: Clips, where: torch.Tensor) -> torch.Tensor:
    """Share of samples whose noise has the sign of the recording, where full scale does not clip it."""
    same = (protected.audio - data.audio).sign() == data.audio.sign()
    return same[where & (protected.audio.abs() < 1)].float().mean()


@pytest.mark.parametrize("kind", ["noise", "tones", "lsp", "ar"])
def test_marks_have_the_level_that_is_asked_for(kind: str) -> None:
    data = spoken()
    protected = protect("separable", {"kind": kind, "snr_db": 25.0}, data)
    assert snr_db(data, protected).tolist() == pytest.approx([25.0] * 4, abs=0.1)
    silent = data.with_audio(data.audio * 0)
    assert not protect("separable", {"kind": kind}, silent).audio.any()


def test_an_equaliser_keeps_the_energy_and_differs_from_class_to_class() -> None:
    data = spoken()
    protected = protect("separable", {"kind": "eq", "decibels": 4.0}, data)
    energies = [x.audio.square().sum((1, 2)) for x in (data, protected)]
    assert torch.allclose(energies[0], energies[1], rtol=1e-3)
    ratio = torch.fft.rfft(protected.audio).abs().square() / torch.fft.rfft(data.audio).abs().square()
    assert not torch.allclose(ratio[0].log().median(), ratio[1].log().median(), atol=1e-3)


def test_autoregressive_noise_is_anew_for_every_clip() -> None:
    data = spoken()
    noise = protect("separable", {"kind": "ar"}, data).audio - data.audio
    first, third = noise[0].flatten(), noise[2].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, third]))[0, 1])) < 0.3


@pytest.mark.parametrize("name", [*CRAFTED])
def test_without_a_surrogate_there_is_one_clear_line(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no surrogate"):
        plugins.build("defenses", name).protect(spoken(), Knowledge(), rng())


def test_marks_of_classes_need_classes() -> None:
    bare = replace(spoken(), labels=None, classes=())
    with pytest.raises(DataError, match="no labels"):
        plugins.build("defenses", "separable").protect(bare, Knowledge(), rng())


def test_parameters_that_make_no_sense_are_refused() -> None:
    for name, params in (("dynamic_epsilon", {"segment_ms": 0.0}), ("constant_epsilon", {"per": "set"})):
        with pytest.raises(UsageError):
            plugins.build("defenses", name, params)


def test_a_loop_repeats_has_its_level_and_its_band_and_is_one_for_a_class() -> None:
    data = sets.tones(6, 8000, 1.0)
    assert int(data.lengths.min()) >= 3200
    protected = protect("loop", {"steps": 3, "restart": 2, "snr_db": 25.0}, data)
    assert snr_db(data, protected).tolist() == pytest.approx([25.0] * 6, abs=0.1)
    noise = (protected.audio - data.audio)[:, 0] / (protected.audio - data.audio).square().mean((1, 2)).sqrt()[:, None]
    period = 1600  # 200 ms at 8 kHz
    assert torch.allclose(noise[:, :period], noise[:, period : 2 * period], atol=1e-3)
    spectra = torch.fft.rfft(noise[:, :period])  # bins of 5 Hz
    inside = spectra[:, 30:381].abs().square().sum(1)
    assert (inside / spectra.abs().square().sum(1) > 0.999).all()  # 150 to 1,900 Hz
    shapes = spectra[:, 30:381].abs()  # alike wherever the loop begins
    likeness = torch.corrcoef(shapes)
    assert likeness[0, 2] > 0.99
    assert likeness[0, 1] < 0.9
    starts = torch.fft.irfft(spectra * spectra[:1].conj()).argmax(1)[::2]
    assert len(set(starts.tolist())) > 1


def test_a_loop_may_follow_the_recording() -> None:
    tone = torch.sin(2 * torch.pi * 300 / 8000 * torch.arange(8000))
    audio = torch.where(torch.arange(8000) < 4000, 0.5, 0.05)[None, None] * tone
    data = Clips.of(audio, 8000, labels=torch.zeros(1).long(), classes=("only",))
    louder = []
    for follow in (0.0, 0.5, 1.0):
        noise = (protect("loop", {"steps": 0, "follow": follow}, data).audio - data.audio)[0, 0]
        louder.append(float((noise[:3200].square().mean() / noise[-3200:].square().mean()).sqrt()))
    assert louder == pytest.approx([1.0, 10**0.5, 10.0], rel=0.05)
