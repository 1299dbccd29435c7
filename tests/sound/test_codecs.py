"""Codecs: in place, as loud as before, as long as before, and honest about what a rate allows."""

import io
from collections.abc import Callable

import pytest
import torch

from bench.errors import DataError
from bench.sound import codecs, decoding

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3S = [(rate, kbps) for rate in RATES for kbps in codecs.mp3_kbps(rate)]


def chirp(rate: int, seconds: float = 0.7, clips: int = 1, channels: int = 1) -> torch.Tensor:
    """A sweep from 100 Hz to 1.2 kHz, low enough for every bit rate, with a soft start and end."""
    time = torch.arange(int(rate * seconds) + 13) / rate
    sweep = 0.4 * torch.sin(2 * torch.pi * (100 * time + 550 * time**2 / seconds))
    return (sweep * torch.sin(torch.pi * time / time[-1])).expand(clips, channels, -1).contiguous()


def lag(late: torch.Tensor, early: torch.Tensor) -> int:
    """Samples by which the first comes later, where their cross-correlation peaks."""
    size = 2 * early.shape[-1]
    product = torch.fft.rfft(late.flatten(), size) * torch.fft.rfft(early.flatten(), size).conj()
    at = int(torch.fft.irfft(product, size).argmax())
    return at if at < size // 2 else at - size


def snr(clean: torch.Tensor, coded: torch.Tensor) -> float:
    return float(10 * torch.log10(clean.square().sum() / (coded - clean).square().sum()))


@pytest.mark.parametrize(("rate", "kbps"), MP3S)
def test_mp3_is_in_place_and_as_loud_at_every_rate_and_bit_rate(rate: int, kbps: int) -> None:
    audio = chirp(rate)
    coded = codecs.mp3(audio, rate, kbps)
    assert coded.shape == audio.shape
    assert coded.dtype == torch.float32
    assert abs(lag(coded, audio)) <= 1
    gain = float((coded * audio).sum() / audio.square().sum())
    assert gain == pytest.approx(1.0, abs=0.02)
    assert snr(audio, coded) > 15


def test_mp3_at_a_high_bit_rate_is_nearly_the_recording() -> None:
    assert snr(chirp(44_100), codecs.mp3(chirp(44_100), 44_100, 320)) > 50


def test_a_lower_bit_rate_costs_more() -> None:
    audio = 0.1 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(1))
    losses = [snr(audio, codecs.mp3(audio, 16_000, kbps)) for kbps in (160, 96, 48, 24)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 5


ROUND_TRIPS: dict[str, Callable[..., torch.Tensor]] = {
    "mp3": lambda audio, **more: codecs.mp3(audio, 16_000, 64, **more),
    "mp3 without header": lambda audio, **more: codecs.mp3(audio, 16_000, 32, **more),
    "vorbis": lambda audio, **more: codecs.vorbis(audio, 16_000, 0.7, **more),
    "opus": lambda audio, **more: codecs.opus(audio, 16_000, 96, **more),
}


@pytest.mark.parametrize("codec", ROUND_TRIPS)
def test_stereo_clips_keep_place_and_channels(codec: str) -> None:
    audio = chirp(16_000, clips=2, channels=2)
    audio[1, 1] *= -0.3
    coded = ROUND_TRIPS[codec](audio)
    for clip in range(2):
        for channel in range(2):
            assert abs(lag(coded[clip, channel], audio[clip, channel])) <= 1
            assert snr(audio[clip, channel], coded[clip, channel]) > 12


@pytest.mark.parametrize("codec", ROUND_TRIPS)
def test_padding_stays_zero_and_does_not_matter(codec: str) -> None:
    audio = chirp(16_000, clips=3)
    lengths = torch.tensor([audio.shape[-1], 5_001, 0])
    for clip, length in enumerate(lengths):
        audio[clip, :, length:] = 0
    coded = ROUND_TRIPS[codec](audio, lengths=lengths)
    for clip, length in enumerate(lengths):
        assert (coded[clip, :, length:] == 0).all()
    torch.testing.assert_close(coded[1:2, :, :5_001], ROUND_TRIPS[codec](audio[1:2, :, :5_001]))


@pytest.mark.parametrize("codec", ROUND_TRIPS)
def test_the_end_of_a_recording_is_there(codec: str) -> None:
    time = torch.arange(9_000) / 16_000
    audio = (0.4 * torch.sin(2 * torch.pi * 300 * time))[None, None]
    last = slice(-200, -40)
    assert snr(audio[..., last], ROUND_TRIPS[codec](audio)[..., last]) > 8


@pytest.mark.parametrize("codec", ROUND_TRIPS)
def test_coding_is_deterministic_and_leaves_its_input_alone(codec: str) -> None:
    audio = chirp(16_000, 0.3)
    before = audio.clone()
    assert torch.equal(ROUND_TRIPS[codec](audio), ROUND_TRIPS[codec](audio))
    assert torch.equal(audio, before)


@pytest.mark.parametrize("codec", ROUND_TRIPS)
@pytest.mark.parametrize("samples", [0, 1, 7, 300])
def test_the_shortest_clips_and_silence_survive(codec: str, samples: int) -> None:
    assert ROUND_TRIPS[codec](torch.zeros(2, 1, samples)).shape == (2, 1, samples)
    assert ROUND_TRIPS[codec](torch.zeros(1, 1, 4_000)).abs().max() < 1e-4


@pytest.mark.parametrize("codec", ROUND_TRIPS)
def test_full_scale_is_clipped_not_passed(codec: str) -> None:
    square = torch.sign(torch.sin(2 * torch.pi * 210 * torch.arange(8_000) / 16_000))[None, None]
    coded = ROUND_TRIPS[codec](square)
    assert coded.abs().max() <= 1.0
    assert coded.abs().max() > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: codecs.mp3(chirp(8_000), 8_000, 128), "no 128 kbit/s: nearest is 64 .possible: 8, 16"),
        (lambda: codecs.mp3(chirp(44_100), 44_100, 16), "nearest is 32"),
        (lambda: codecs.mp3(chirp(16_000), 16_000, 100), "nearest is 96"),
        (lambda: codecs.mp3(chirp(8_000), 96_000, 64), "no rate of 96000 .* resample to 48000"),
        (lambda: codecs.mp3(chirp(16_000, channels=3), 16_000, 64), "has 3 channels, expected 1 to 2"),
        (lambda: codecs.mp3(chirp(16_000)[0], 16_000, 64), "expected .clip, channel, sample."),
        (lambda: codecs.opus(chirp(44_100), 44_100, 64), "no rate of 44100"),
        (lambda: codecs.opus(chirp(16_000), 16_000, 400), "expected 6..256"),
        (lambda: codecs.vorbis(chirp(16_000), 16_000, 1.5), "expected 0..1"),
    ],
)
def test_the_impossible_is_refused_with_the_nearest_good_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_the_mp3_stream_has_the_bit_rate_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame headers say it: the bit rate index is in the upper half of the third byte."""
    streams: list[bytes] = []
    opened = decoding.NonSeekableSoundFile

    def spy(stream: io.BytesIO) -> object:
        streams.append(stream.getvalue())
        return opened(stream)

    monkeypatch.setattr(codecs, "NonSeekableSoundFile", spy)
    for rate, kbps in ((44_100, 32), (44_100, 192), (16_000, 8), (16_000, 144), (8_000, 64)):
        codecs.mp3(chirp(rate, 0.3), rate, kbps)
        first = streams[-1].index(b"\xff")
        possible = codecs.mp3_kbps(rate)
        assert possible[(streams[-1][first + 2] >> 4) - 1] == kbps
