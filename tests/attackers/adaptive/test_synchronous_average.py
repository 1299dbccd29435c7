"""A mark that moves from clip to clip is found and subtracted; unrelated recordings lose little."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips, Knowledge
from bench.errors import DataError, UsageError

RATE, CLIPS = 8000, 48


def voices(channels: int = 1) -> Clips:
    """Unrelated recordings of two classes, of different lengths: noise through a filter that is each clip's own."""
    rng = torch.Generator().manual_seed(0)
    white = torch.fft.rfft(torch.randn(CLIPS, channels, RATE, generator=rng))
    tilt = torch.linspace(1.0, 0.05, white.shape[-1]) ** (0.5 + torch.rand(CLIPS, 1, 1, generator=rng))
    audio = torch.fft.irfft(white * tilt, RATE)
    lengths = RATE - torch.randint(0, RATE // 4, (CLIPS,), generator=rng)
    audio = 0.3 * audio / audio.abs().amax((1, 2), keepdim=True) * (torch.arange(RATE) < lengths[:, None])[:, None]
    return Clips.of(audio, RATE, lengths=lengths, labels=torch.arange(CLIPS) % 2, classes=("a", "b"))


def marked(clean: Clips, kind: str, moves: bool, snr_db: float = 12.0) -> tuple[Clips, torch.Tensor]:
    """Clips with a mark of their class, and the mark in each; where it moves, at a lag of each clip's own."""
    given = {"kind": kind, "snr_db": snr_db}
    rng = torch.Generator().manual_seed(1)
    mark = plugins.build("defenses", "separable", given).protect(clean, Knowledge(), rng).audio - clean.audio
    if moves:
        lags = torch.randint(RATE, (CLIPS,), generator=rng).tolist()
        mark = torch.stack([one.roll(lag, -1) for one, lag in zip(mark, lags, strict=True)]) * clean.support
    return clean.with_audio((clean.audio + mark).clamp(-1, 1)), mark


def averaged(data: Clips, name: str = "synchronous_average", **given: Any) -> Clips:
    out: Clips = plugins.build("adaptations", name, given).transform(data, torch.Generator().manual_seed(2))
    return out.check(name)


def left(data: Clips, changed: Clips, mark: torch.Tensor) -> float:
    """Energy along the mark, relative to what it was."""
    after, before = ((each.audio * mark).sum((1, 2)).square().sum() for each in (changed, data))
    return float(after / before)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(("kind", "snr_db"), [("tones", 12.0), ("noise", 12.0), ("lsp", 6.0)])
def test_a_mark_is_taken_out_at_any_lag(kind: str, snr_db: float, moves: bool) -> None:
    data, mark = marked(voices(), kind, moves, snr_db)
    assert left(data, averaged(data), mark) < 0.1
    if moves:
        assert left(data, averaged(data, "class_average"), mark) > 0.8, "which class_average does not find"


def test_a_mark_in_both_channels_is_taken_out() -> None:
    data, mark = marked(voices(channels=2), "noise", moves=True)
    assert left(data, averaged(data), mark) < 0.1


def test_clean_clips_lose_little() -> None:
    clean = voices()
    lost = averaged(clean).audio - clean.audio
    assert 10 * torch.log10(clean.audio.square().sum() / lost.square().sum()) > 9.0  # 12.1 found


def test_strength_is_how_much_is_subtracted() -> None:
    data, mark = marked(voices(), "noise", moves=False)
    assert torch.equal(averaged(data, strength=0.0).audio, data.audio)
    assert 0.15 < left(data, averaged(data, strength=0.5), mark) < 0.5


def test_a_class_of_few_clips_stays_as_it_is() -> None:
    few = voices().select(torch.arange(4))
    assert torch.equal(averaged(few).audio, few.audio)


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_short_and_silent_clips_pass(samples: int) -> None:
    labels = torch.zeros(8, dtype=torch.int64)
    for level in (0.0, 1.0):
        short = Clips.of(torch.full((8, 1, samples), level), RATE, labels=labels, classes=("a", "empty"))
        assert averaged(short).audio.isfinite().all()


def test_without_labels_it_is_refused() -> None:
    with pytest.raises(DataError, match="labels"):
        averaged(Clips.of(torch.zeros(2, 1, 100), RATE))


@pytest.mark.parametrize("given", [{"strength": 1.1}, {"fewest": 2}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "synchronous_average", given)
