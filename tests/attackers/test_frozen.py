"""Frozen embeddings: that they are computed as their own libraries do, stay as they were, and carry words."""

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from bench import plugins
from bench.api import Clips
from bench.compat import workaround_torchaudio
from bench.errors import DataError

pytestmark = pytest.mark.numeric
workaround_torchaudio()  # Transformers imports torchaudio, whose extension cannot be loaded beside a CPU build of torch

KINDS = ("wav2vec2", "hubert", "whisper")
RATE = 16_000


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def frozen(**parameters: Any) -> Any:
    return plugins.build("attackers", "frozen", parameters)


def clips(rate: int = RATE, samples: int = 8000, count: int = 4, channels: int = 1) -> Clips:
    audio = 0.1 * torch.randn(count, channels, samples, generator=rng(1))
    return Clips.of(audio, rate, labels=torch.arange(count) % 2, classes=("a", "b"))


def network(kind: str) -> Any:
    """A small model with random weights."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperModel

    torch.manual_seed(0)
    if kind == "whisper":
        config = WhisperConfig(
            d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50, vocab_size=60, num_mel_bins=80,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        return WhisperModel(config).eval()
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    if kind == "hubert":
        return HubertModel(HubertConfig(**small)).eval()
    return Wav2Vec2Model(Wav2Vec2Config(**small)).eval()


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    network(request.param).save_pretrained(tmp_path / request.param)
    return tmp_path / str(request.param)


@pytest.fixture
def packaged() -> Any:
    return pytest.importorskip("pyopen_wakeword", reason="the extra `embedding` is not installed")


def test_transformers_hear_what_their_own_feature_extractor_makes(folder: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    audio = clips(samples=RATE).audio[:, 0]
    original = network(folder.name)
    embedding = frozen(source=str(folder), margin_ms=0.0).model(clips(), rng()).front.embedding
    sounds = list(audio.numpy())
    with torch.no_grad():
        if folder.name == "whisper":
            extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=1)
            expected = extractor(sounds, sampling_rate=RATE, return_tensors="pt")["input_features"]
            assert torch.allclose(embedding.spectrogram(audio), expected, atol=1e-3)
            theirs = original.encoder(expected).last_hidden_state
        else:
            extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
            theirs = original(extractor(sounds, sampling_rate=RATE, return_tensors="pt")["input_values"])[0]
        assert torch.allclose(embedding(audio), theirs, atol=1e-2)


def test_a_hidden_state_can_be_chosen(folder: Path) -> None:
    data = clips()
    last, first = (frozen(source=str(folder), layer=layer).model(data, rng()).front(data.audio) for layer in (-1, 0))
    assert last.shape == first.shape == (4, 3 * 16)
    assert not torch.allclose(last, first, atol=1e-2)
    with pytest.raises(DataError, match=r"layer = 3, expected -3\.\.2"):
        frozen(source=str(folder), layer=3).model(data, rng())


@pytest.mark.parametrize(("rate", "samples", "channels"), [(8000, 8000, 1), (44_100, 20_000, 2), (16_000, 1, 1)])
def test_the_gradient_reaches_the_audio(rate: int, samples: int, channels: int, folder: Path) -> None:
    _require_gradient(frozen(source=str(folder)), clips(rate, samples, channels=channels))


@pytest.mark.parametrize(("rate", "samples", "channels"), [(8000, 8000, 1), (44_100, 20_000, 2), (16_000, 1, 1)])
def test_the_gradient_reaches_the_audio_of_the_speech_embedding(
    rate: int, samples: int, channels: int, packaged: Any
) -> None:
    _require_gradient(frozen(), clips(rate, samples, channels=channels))


def _require_gradient(attacker: Any, data: Clips) -> None:
    audio = data.audio.clone().requires_grad_()
    loss = attacker.loss(attacker.model(data, rng()).eval(), data.with_audio(audio))
    (slope,) = torch.autograd.grad(loss.sum(), audio)
    assert loss.shape == (len(data),)
    assert slope.isfinite().all()
    if data.audio.shape[-1] > 1:
        assert (slope.abs().amax((1, 2)) > 0).all()


def test_only_the_linear_layer_learns(folder: Path) -> None:
    data = clips(count=8)
    attacker = frozen(source=str(folder), epochs=2)
    before, model = attacker.model(data, rng()), attacker.learn(data, data, rng())
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[name])]
    assert changed == ["body.weight", "body.bias"]
    assert not model.train().front.embedding.training
    assert [name for name, each in model.named_parameters() if each.requires_grad] == changed


def test_silence_is_embedded(packaged: Any) -> None:
    data = clips().with_audio(torch.zeros(4, 1, 8000))
    assert frozen().model(data, rng())(data.audio).isfinite().all()


def _run(owner: Any, part: str, values: Tensor) -> Tensor:
    """What TensorFlow Lite's own library computes with one of the package's models."""
    lib, array = owner.lib, values.contiguous().numpy()
    read, write = (getattr(owner, f"{part}_{end}_tensor") for end in ("input", "output"))
    assert lib.TfLiteTensorByteSize(read) == array.nbytes
    lib.TfLiteTensorCopyFromBuffer(read, array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes))
    assert lib.TfLiteInterpreterInvoke(getattr(owner, f"{part}_interpreter")) == 0
    found = torch.zeros(lib.TfLiteTensorByteSize(write) // 4)
    size = ctypes.c_size_t(found.numel() * 4)
    lib.TfLiteTensorCopyToBuffer(write, found.numpy().ctypes.data_as(ctypes.c_void_p), size)
    return found


def test_the_speech_embedding_is_that_of_tensorflow_lite(packaged: Any) -> None:
    owner = packaged.OpenWakeWordFeatures.from_builtin()
    embedding = frozen().model(clips(), rng()).front.embedding
    audio = clips(samples=12_512).audio[:1, 0]
    with torch.no_grad():
        frames = embedding.spectrogram(audio)
        assert frames.shape == (1, 76, 32)
        assert torch.allclose(embedding(audio)[0, 0], _run(owner, "emb", frames[0]), atol=1e-2)
        short = audio[:, :1760] * 2**15
        ours = embedding.spectrogram(audio[:, : 512 + 7 * 160])[0, :8]  # behind them is silence
        theirs = _run(owner, "mel", short).view(-1, 32) / 10 + 2
    assert torch.allclose(ours, theirs[: len(ours)], atol=1e-2)


def test_embeddings_of_a_long_clip_are_those_of_its_windows(packaged: Any) -> None:
    embedding = frozen().model(clips(), rng()).front.embedding
    audio = clips(samples=2 * RATE, count=1).audio[:, 0]
    with torch.no_grad():
        together = embedding(audio)[0]
        alone = torch.cat([embedding(audio[:, at * 1280 : at * 1280 + 12_512])[0] for at in range(len(together))])
    assert torch.allclose(together, alone, atol=1e-2)


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "audio-spectrogram-transformer"}))


def _damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])


def _at_another_rate(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 8000}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_without_weights, r"no \*\.safetensors"),
        (_of_another_kind, "expected wav2vec2, hubert, wavlm or whisper"),
        (_damaged, "cannot be read"),
        (_at_another_rate, "takes 8000 samples a second"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(harm: Any, said: str, folder: Path) -> None:
    harm(folder)
    with pytest.raises(DataError, match=said) as refused:
        frozen(source=str(folder)).model(clips(), rng())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\0\0\0\0TFL3" + bytes(40), b"\xff\xff\xff\x7fTFL3"])
def test_a_damaged_tflite_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "embedding.tflite"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"embedding\.tflite") as refused:
        frozen(source=str(file)).model(clips(), rng())
    assert "\n" not in str(refused.value)


def test_another_tflite_model_is_refused(packaged: Any) -> None:
    other = Path(packaged.__file__).parent / "models" / "melspectrogram.tflite"
    with pytest.raises(DataError, match="holds 2 convolutions, expected the 20"):
        frozen(source=str(other)).model(clips(), rng())


def test_a_missing_package_or_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="nobody/nothing is not in the Hugging Face cache"):
        frozen(source="nobody/nothing").model(clips(), rng())
    with pytest.raises(DataError, match="no folder and no name"):
        frozen(source="no/such/name").model(clips(), rng())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pyopen-wakeword is not installed"):
        frozen().model(clips(), rng())
    assert "embedding" in frozen().inventory()["pyopen-wakeword"]


def test_other_weights_are_another_fingerprint(folder: Path) -> None:
    before = frozen(source=str(folder)).fingerprint()
    (folder / "model.safetensors").write_bytes(b"other")
    assert frozen(source=str(folder)).fingerprint() != before


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"segments": 0}, "segments = 0, expected 1 or more"),
        ({"margin_ms": -1.0}, "margin_ms = -1.0, expected 0 or more"),
        ({"peak": 2.0}, r"peak = 2\.0, expected 0"),
        ({"source": ""}, "source = ''"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        frozen(**parameters)


# Of 240 digits it reaches .97; chance is .10.
def test_spoken_digits_are_learnt(bench_data: Path, monkeypatch: pytest.MonkeyPatch, packaged: Any) -> None:
    monkeypatch.setenv("BENCH_DATA", str(bench_data))
    digits = plugins.build("datasets", "spoken_digits", {"takes": 4, "test_takes": 1})
    attacker = frozen(epochs=5)
    validation = digits.load("validation").select(range(0, 60, 3))
    model = attacker.learn(digits.load("train"), validation, rng())
    assert float(attacker.quality(model, digits.load("test"))["accuracy"].mean()) > 0.8
