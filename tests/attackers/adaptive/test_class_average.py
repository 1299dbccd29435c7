"""What all clips of a class share is taken from them, and little else."""

import pytest
import torch

from bench import plugins
from bench.api import Clips, Knowledge
from bench.errors import DataError

RATE, CLIPS = 8000, 48


def voices(channels: int = 1) -> Clips:
    """Unrelated recordings of two classes, of different lengths: noise through a filter that is each clip's own."""
    rng = torch.Generator().manual_seed(0)
    white = torch.fft.rfft(torch.randn(CLIPS, channels, RATE, generator=rng))
    tilt = torch.linspace(1.0, 0.05, white.shape[-1]) ** (0.5 + torch.rand(CLIPS, 1, 1, generator=rng))
    audio = torch.fft.irfft(white * tilt, RATE)
    lengths = RATE - torch.randint(0, RATE // 4, (CLIPS,), generator=rng)
    audio = 0.3 * audio / audio.abs().amax((1, 2), keepdim=True) * (torch.arange(RATE) < lengths[:, None])[:, None]
    labels = torch.arange(CLIPS) % 2
    return Clips.of(audio, RATE, lengths=lengths, labels=labels, classes=("a", "b"))


def averaged(data: Clips) -> Clips:
    out: Clips = plugins.build("adaptations", "class_average", {}).transform(data, torch.Generator())
    return out


def db(power: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(power.square().sum() / other.square().sum()))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["tones", "noise", "lsp"])
def test_a_mark_of_the_class_is_taken_out(kind: str, channels: int) -> None:
    clean = voices(channels)
    given = {"kind": kind, "snr_db": 12.0}
    marked = plugins.build("defenses", "separable", given).protect(clean, Knowledge(), torch.Generator().manual_seed(1))
    mark = marked.audio - clean.audio
    mark = mark / mark.square().sum((1, 2), keepdim=True).sqrt()
    before, after = ((each.audio * mark).sum((1, 2)) for each in (marked, averaged(marked).check("averaged")))
    # A clip has some of the mark by chance; at 12 dB the mark is far above it.
    chance = (clean.audio * mark).sum((1, 2)).square().mean()
    assert before.square().mean() > 4 * chance
    assert after.square().mean() < before.square().mean() / 4


def test_clean_clips_lose_little() -> None:
    clean = voices()
    assert db(clean.audio, averaged(clean).audio - clean.audio) > 10.0  # 24 clips a class: 1/24 is 14 dB


def test_a_class_of_few_clips_stays_as_it_is() -> None:
    few = voices().select(torch.arange(4))  # two of each class
    assert torch.equal(averaged(few).audio, few.audio)


def test_without_labels_it_is_refused() -> None:
    with pytest.raises(DataError, match="labels"):
        averaged(Clips.of(torch.zeros(2, 1, 100), RATE))
