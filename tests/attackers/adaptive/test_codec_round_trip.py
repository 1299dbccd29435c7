"""The round trip through a neural codec: the shipped one, one of the user's, or a line that says what is missing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, UsageError
from bench.sound.mel import LogMel

pytest.importorskip("transformers")


def built(**given: Any) -> Any:
    return plugins.build("adaptations", "codec_round_trip", given)


def coded(clips: Clips, **given: Any) -> Clips:
    transformed: Clips = built(**given).transform(clips, torch.Generator()).check("codec_round_trip")
    return transformed


def notes(rate: int = 16_000, channels: int = 1) -> Clips:
    """Two clips of four plucked harmonic notes each, of different lengths."""
    time = torch.arange(rate) / rate
    hz = torch.tensor([220.0, 330.0, 262.0, 392.0])[(time * 4).long()]
    phase = 2 * torch.pi * torch.cumsum(hz / rate, 0)
    sound = sum(torch.sin(k * phase) / k for k in range(1, 6)) * torch.exp(-5 * (time * 4 % 1)) * 0.3
    lengths = torch.tensor([rate, rate // 2])
    return Clips.of(
        sound.expand(2, channels, -1) * (torch.arange(rate) < lengths[:, None])[:, None], rate, lengths=lengths
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An EnCodec with random weights at 8 kHz."""
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    config = EncodecConfig(
        sampling_rate=8000, target_bandwidths=[2.0], upsampling_ratios=[8, 5], num_filters=4, hidden_size=8,
        codebook_size=16, num_lstm_layers=1, norm_type="weight_norm", use_causal_conv=True,
    )  # fmt: skip
    EncodecModel(config).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_rate_keeps_its_clips(rate: int, channels: int) -> None:
    clips = notes(rate, channels)
    changed = coded(clips)
    assert changed.audio.shape == clips.audio.shape
    assert torch.equal(changed.lengths, clips.lengths)
    assert (changed.audio * ~changed.support == 0).all()
    assert changed.audio.std() > 0.01


def test_the_spectrum_of_notes_survives_and_their_waveform_does_not() -> None:
    clips = notes().select([0])
    mel = LogMel(16_000, 40, 32.0)
    sound, other = (mel(each)[0].flatten() for each in (clips.audio, torch.randn_like(clips.audio) * 0.1))
    changed = mel(coded(clips).audio)[0].flatten()
    likeness = [float(torch.corrcoef(torch.stack([changed, each]))[0, 1]) for each in (sound, other)]
    assert likeness[0] > likeness[1] + 0.2
    assert float((coded(clips).audio - clips.audio).norm() / clips.audio.norm()) > 0.5


def test_a_codec_of_the_user_is_the_codec_of_transformers(folder: Path) -> None:
    from transformers import EncodecModel

    clips = notes(8000).select([0])
    model: Any = EncodecModel.from_pretrained(folder).eval()
    with torch.no_grad():
        padded = torch.nn.functional.pad(clips.audio, (0, 40))
        expected = model.decoder(model.quantizer.decode(model.quantizer.encode(model.encoder(padded), 2.0)))
    kept = model.quantizer.get_num_quantizers_for_bandwidth(2.0)
    changed = coded(clips, source=str(folder), codebooks=kept)
    torch.testing.assert_close(changed.audio, expected[..., :8000].clamp(-1, 1), atol=1e-5, rtol=0)
    assert built(source=str(folder)).fingerprint() != built().fingerprint() != ""


def test_fewer_codebooks_are_another_sound() -> None:
    clips = notes().select([0])
    one, four = (coded(clips, codebooks=count).audio for count in (1, 4))
    assert torch.equal(four, coded(clips).audio)
    assert float((one - four).norm() / four.norm()) > 0.01


@pytest.mark.parametrize("samples", [1, 5, 700])
def test_short_and_silent_clips_pass(samples: int) -> None:
    assert coded(Clips.of(torch.ones(2, 1, samples), 8000)).audio.shape == (2, 1, samples)
    assert coded(Clips.of(torch.zeros(1, 2, samples), 44_100)).audio.shape == (1, 2, samples)


def test_what_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    for source in ("nobody/no-such-codec", str(tmp_path / "absent"), str(tmp_path)):
        plugin = built(source=source)
        with pytest.raises(DataError, match="codec_round_trip: ") as caught:
            plugin.transform(notes(), torch.Generator())
        assert "\n" not in str(caught.value)
        assert plugin.inventory()[source]
        assert plugin.fingerprint() == ""
    (tmp_path / "config.json").write_text('{"model_type": "dac"}')
    (tmp_path / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    with pytest.raises(DataError, match="holds a 'dac', expected a mono EnCodec"):
        coded(notes(), source=str(tmp_path))
    with pytest.raises(DataError, match="codebooks = 9, this codec has 4"):
        coded(notes(), codebooks=9)
    with pytest.raises(UsageError, match="codebooks = -1, expected 0 or more"):
        built(codebooks=-1)
