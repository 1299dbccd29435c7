"""AST: that it learns from nothing, and that a checkpoint is read exactly, from safetensors only, at its own rate."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips
from bench.compat import workaround_torchaudio
from bench.errors import DataError

pytestmark = pytest.mark.numeric
# Transformers imports torchaudio, whose extension cannot be loaded beside a CPU build of torch.
workaround_torchaudio()

BANDS, FRAMES = 32, 98


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ast(**parameters: Any) -> Any:
    return plugins.build("attackers", "ast", parameters)


def clips(rate: int = 8000, samples: int = 8000, count: int = 6, channels: int = 1) -> Clips:
    audio = 0.1 * torch.randn(count, channels, samples, generator=rng(1))
    return Clips.of(audio, rate, labels=torch.arange(count) % 3, classes=("a", "b", "c"))


def config(**more: Any) -> Any:
    from transformers import ASTConfig

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return ASTConfig(**small, num_mel_bins=BANDS, max_length=FRAMES, num_labels=5, **more)


@pytest.fixture(scope="module")
def original() -> Any:
    workaround_torchaudio()  # as loading a plugin does, which this comes before
    from transformers import ASTForAudioClassification

    torch.manual_seed(0)
    return ASTForAudioClassification(config()).eval()


@pytest.fixture
def folder(original: Any, tmp_path: Path) -> Path:
    original.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_checkpoint_hears_what_its_own_feature_extractor_makes(original: Any, folder: Path) -> None:
    from transformers import ASTFeatureExtractor

    extractor = ASTFeatureExtractor(num_mel_bins=BANDS, max_length=FRAMES, mean=-5.0, std=3.0)
    extractor.save_pretrained(folder)
    data = clips(16_000, 12_000)
    model = ast(path=str(folder)).model(data, rng())
    front, pooled = model.front
    expected = extractor(list(data.audio[:, 0].numpy()), sampling_rate=16_000, return_tensors="pt")["input_values"]
    assert torch.allclose(front(data.audio), expected, atol=1e-4)
    theirs = original.audio_spectrogram_transformer(expected).pooler_output
    assert torch.allclose(pooled(expected), theirs, atol=1e-5)
    assert model(data.audio).shape == (6, 3)  # the data's classes, not the checkpoint's five


def test_recordings_are_resampled_to_the_models_rate(folder: Path) -> None:
    time = torch.arange(16_000) / 16_000
    high = torch.sin(2 * torch.pi * 1000 * time)[None, None]
    at_16, at_8 = clips(16_000, 16_000, 1).with_audio(high), clips(8000, 8000, 1).with_audio(high[..., ::2])
    heard = [ast(path=str(folder)).model(data, rng()).front[0](data.audio) for data in (at_16, at_8)]
    assert heard[0].shape == heard[1].shape == (1, FRAMES, BANDS)
    loudest = [seen[0, 5:-5].mean(0).argmax() for seen in heard]
    assert loudest[0] == loudest[1]
    assert torch.allclose(heard[0][0, 5:-5, loudest[0]], heard[1][0, 5:-5, loudest[0]], atol=0.02)


@pytest.mark.parametrize(("rate", "samples", "channels"), [(8000, 8000, 1), (16_000, 20_000, 2), (8000, 100, 1)])
@pytest.mark.parametrize("pretrained", [False, True])
def test_the_gradient_reaches_the_audio(pretrained: bool, rate: int, samples: int, channels: int, folder: Path) -> None:
    attacker = ast(path=str(folder)) if pretrained else ast()
    data = clips(rate, samples, channels=channels)
    model = attacker.model(data, rng()).eval()
    audio = data.audio.clone().requires_grad_()
    loss = attacker.loss(model, data.with_audio(audio))
    assert loss.shape == (6,)
    (slope,) = torch.autograd.grad(loss.sum(), audio)
    assert slope.isfinite().all()
    assert (slope.abs().amax((1, 2)) > 0).all()


@pytest.mark.parametrize("samples", [3000, 12_000])
def test_other_lengths_than_the_first_are_cut_or_padded(samples: int) -> None:
    model = ast().model(clips(), rng()).eval()
    other = clips(samples=samples).audio
    same = torch.nn.functional.pad(other, (0, 8000 - samples))
    assert torch.allclose(model(other), model(same), atol=1e-5)


def test_frozen_features_stay_as_they_were_and_the_head_learns(original: Any, folder: Path) -> None:
    train, validation, test = sets.material("audio")
    attacker = ast(path=str(folder), epochs=3, lr=1e-2)
    model = attacker.learn(train, validation, rng())
    pretrained = original.audio_spectrogram_transformer.state_dict()
    for name, value in model.front[1].transformer.state_dict().items():
        assert torch.equal(value, pretrained[name])
    assert not torch.equal(model.body.dense.weight, attacker.model(train, rng()).body.dense.weight)
    assert set(attacker.quality(model, test)) == {"accuracy", "log likelihood"}


def test_thawed_features_learn(original: Any, folder: Path) -> None:
    train, validation = sets.tones(80), sets.tones(20, seed=1)
    model = ast(path=str(folder), freeze_features=False, epochs=4).learn(train, validation, rng())
    pretrained = original.audio_spectrogram_transformer.state_dict()
    now = model.body[0].transformer.state_dict()
    assert any(not torch.equal(now[name], pretrained[name]) for name in now)


def test_other_weights_are_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    assert ast().fingerprint() == ""
    before = ast(path=str(folder)).fingerprint()
    shutil.copytree(folder, tmp_path / "moved" / "checkpoint")
    assert ast(path=str(tmp_path / "moved" / "checkpoint")).fingerprint() == before
    (folder / "model.safetensors").write_bytes(b"other")
    assert ast(path=str(folder)).fingerprint() != before


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled(folder: Path) -> None:
    _without_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])


def _of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _wider(folder: Path) -> None:
    config(hidden_dropout_prob=0.0).save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "hidden_size": 48}))


def _deeper(folder: Path) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "num_hidden_layers": 2}))


def _without_deviation(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"std": 0.0}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_without_weights, r"no \*\.safetensors"),
        (_pickled, r"no \*\.safetensors"),
        (_without_config, r"no config\.json"),
        (_damaged, "cannot be read"),
        (_of_another_kind, "type 'wav2vec2', expected 'audio-spectrogram-transformer'"),
        (_no_json, "not JSON"),
        (_wider, "cannot be read"),
        (_deeper, "lacks .* weights"),
        (_without_deviation, "a std above 0"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(harm: Any, said: str, folder: Path) -> None:
    harm(folder)
    with pytest.raises(DataError, match=said) as refused:
        ast(path=str(folder)).model(clips(), rng())
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_is_not_in_the_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="nobody/nothing is not in the Hugging Face cache"):
        ast(checkpoint="nobody/nothing").model(clips(), rng())
    with pytest.raises(DataError, match="expected 'tiny' or a name"):
        ast(checkpoint="no/such/name").model(clips(), rng())
    assert all(lacking for lacking in ast().inventory().values())


def test_clips_without_labels_are_refused() -> None:
    with pytest.raises(DataError, match="no labels"):
        ast().model(Clips.of(torch.zeros(2, 1, 8000), 8000), rng())


@pytest.mark.parametrize(("parameters", "said"), [({"width": 30}, "multiple of the 4"), ({"layers": 0}, "1 or more")])
def test_parameters_are_checked(parameters: dict[str, int], said: str) -> None:
    with pytest.raises(Exception, match=said):
        ast(**parameters)


def test_the_tiny_one_learns_timbres_from_nothing() -> None:
    train, validation, test = (sets.tones(count, 8000, 1.0, seed=seed) for seed, count in enumerate((160, 40, 160)))
    attacker = ast(epochs=30)
    learnt = attacker.quality(attacker.learn(train, validation, rng()), test)["accuracy"].mean()
    # Two classes, 160 clips: by chance .5, with a standard error of .04. Learnt are .94 (SD .045 over three seeds): .75
    # lies 6 standard errors above chance and 4 SD below what is learnt. One epoch reaches .59, shuffled labels .53.
    assert float(learnt) > 0.75
