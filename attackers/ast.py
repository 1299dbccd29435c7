"""The Audio Spectrogram Transformer, AST: attention over patches of a mel spectrogram.

Gong et al., Interspeech 2021, as implemented in Hugging Face Transformers. By default a tiny model (two layers, 40
bands) with random weights. With `checkpoint` or `path`, a pretrained one behind its own Kaldi filter bank at its own
rate, under a new head: such as MIT/ast-finetuned-speech-commands-v2 for words, or one of AudioSet for other sound.

Every clip is cut or padded with silence to what the model's position embeddings cover; there is no attention mask.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Clips, Log, Needs, check_range, silent_log
from bench.compat import workaround_torchaudio
from bench.errors import DataError
from bench.sound.mel import LogMel
from bench.sound.resampling import resample
from bench.training import checkpoints, classification
from bench.training.acceleration import Precision, recompute_layers
from bench.training.learning import seeded

_KIND = "audio-spectrogram-transformer"
_CHECKPOINTS = ("MIT/ast-finetuned-speech-commands-v2", "MIT/ast-finetuned-audioset-10-10-0.4593")
# What ASTFeatureExtractor takes where a checkpoint has no preprocessor_config.json: AudioSet's statistics.
_DEFAULTS = {"sampling_rate": 16_000, "mean": -4.2677393, "std": 4.5689974}
_WINDOW = 0.025  # seconds, Kaldi's frame
_BANDS, _PATCH, _WINDOW_MS = 40, 8, 32.0  # of the tiny one


@dataclass(frozen=True)
class Ast(Attacker[Clips]):
    """A transformer on a mel spectrogram, tiny and untrained or pretrained, with one output a class.

    Attributes:
        checkpoint: "tiny", or a repository of the Hugging Face hub, looked for in the cache.
        path: a local folder with a checkpoint, in place of `checkpoint`.
        download: fetch `checkpoint` from the hub if it is not in the cache.
        freeze_features: for a checkpoint, train only the head; to train all of it, set lr to about 5e-5.
        width: width of the tiny model, a multiple of 4.
        layers: layers of the tiny model.
        epochs: passes over the training set.
        batch: clips a step.
        lr: peak learning rate.
        weight_decay: of AdamW.
        precision: of the training loss: "float32", "bfloat16", or "auto", which is bfloat16 on an accelerator.
        checkpointing: recompute layers for the gradient: less memory, a third more time.
    """

    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    paper = "Gong et al. 2021, arXiv:2104.01778"
    presets = {"smoke": {"epochs": 30}, "full": {"epochs": 40, "precision": "auto", "checkpointing": True}}

    checkpoint: str = "tiny"
    path: str = ""
    download: bool = False
    freeze_features: bool = True
    width: int = 64
    layers: int = 2
    epochs: int = 20
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-2
    precision: Precision = "float32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        check_range(self, "layers", "epochs", "batch", least=1)
        check_range(self, "lr", above=0)
        check_range(self, "weight_decay", least=0)
        if self.width < 4 or self.width % 4:
            raise ValueError(
                f"width = {self.width}, expected a multiple of the 4 heads, such as {max(4, self.width // 4 * 4)}"
            )

    def resources(self) -> Needs:
        """Return what a stage needs: more for a checkpoint of 86 million parameters and 1,212 patches a clip."""
        return self.needs if self._tiny else replace(self.needs, memory_gb=6.0, accelerator_gb=8.0)

    def fingerprint(self) -> str:
        """Digest the folder name (on the hub: the revision), file names and sizes of a checkpoint."""
        if self._tiny:
            return ""
        return checkpoints.fingerprint(self._folder())

    def inventory(self) -> dict[str, str]:
        """Name two public checkpoints, with what is disabled where the Hugging Face cache lacks them."""
        return checkpoints.inventory({name: f"checkpoint={name}" for name in _CHECKPOINTS}, "ast")

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        """Build the network, or load the checkpoint under a new head.

        Raises:
            DataError: The clips have no labels, or the checkpoint is missing or unreadable.
        """
        classes = len(classification.classes(like))
        with seeded(rng):
            network = self._from_nothing(like, classes) if self._tiny else self._pretrained(like, classes)
        if self.checkpointing:
            for part in network.modules():
                if isinstance(part, _Pooled):
                    recompute_layers(part.transformer)
        return network.to(like.device)

    def loss(self, model: nn.Module, batch: Clips) -> Tensor:
        return classification.cross_entropy(model, batch)

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        return classification.learn(self, train, validation, rng, augment=augment, log=log, precision=self.precision)

    def quality(self, model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
        return classification.quality(model, test)

    @property
    def _tiny(self) -> bool:
        """Whether it is the tiny model, not a checkpoint."""
        return self.checkpoint == "tiny" and not self.path

    def _folder(self) -> Path:
        """Find the checkpoint's folder. Raises `DataError` where there is none."""
        if self.path:
            return checkpoints.require_checkpoint(Path(self.path).expanduser(), "ast", "attacker.path")
        from huggingface_hub.errors import HFValidationError

        try:
            return checkpoints.from_hub(self.checkpoint, "ast", download=self.download)
        except HFValidationError as error:
            raise DataError(
                f"ast.checkpoint = '{self.checkpoint}', expected 'tiny' or a name such as {_CHECKPOINTS[0]}"
            ) from error

    def _from_nothing(self, like: Clips, classes: int) -> nn.Module:
        """Build the tiny model."""
        from transformers import ASTConfig, ASTForAudioClassification

        front_end = _LogMelFrames(like)
        network = ASTForAudioClassification(
            ASTConfig(
                hidden_size=self.width, num_hidden_layers=self.layers, num_attention_heads=4,
                intermediate_size=2 * self.width, patch_size=_PATCH, time_stride=_PATCH, frequency_stride=_PATCH,
                num_mel_bins=_BANDS, max_length=front_end.frames, num_labels=classes,
            )
        )  # fmt: skip
        return classification.WithFrontEnd(front_end, nn.Sequential(_Pooled(network), network.classifier))

    def _pretrained(self, like: Clips, classes: int) -> nn.Module:
        """Load a checkpoint under a new head, behind the filter bank that it was trained with."""
        from transformers import ASTConfig, ASTForAudioClassification

        folder = self._folder()
        features = _features_of(folder)
        base = _loaded(folder)
        front_end = _KaldiFrames(like.rate, base.config.num_mel_bins, base.config.max_length, **features)
        config = ASTConfig.from_dict({**base.config.to_dict(), "num_labels": classes})
        network = ASTForAudioClassification(config)
        network.audio_spectrogram_transformer = base
        if not self.freeze_features:
            return classification.WithFrontEnd(front_end, nn.Sequential(_Pooled(network), network.classifier))
        base.requires_grad_(False)
        return classification.WithFrontEnd(nn.Sequential(front_end, _Pooled(network)), network.classifier)


class _Pooled(nn.Module):
    """Frames [clip, frame, band] -> mean of the class and distillation tokens [clip, width]."""

    def __init__(self, network: Any):
        super().__init__()
        self.transformer = network.audio_spectrogram_transformer

    def forward(self, frames: Tensor) -> Tensor:
        pooled: Tensor = self.transformer(frames).pooler_output
        return pooled


class _LogMelFrames(nn.Module):
    """Audio [clip, channel, sample] -> log-mel [clip, frame, band], each clip of mean 0 and deviation 0.5, as AST's."""

    def __init__(self, like: Clips):
        super().__init__()
        self.mel = LogMel(like.rate, _BANDS, _WINDOW_MS)
        hop = self.mel.mel.hop_length
        self.samples = max(like.audio.shape[-1], (_PATCH - 1) * hop)
        self.frames = self.samples // hop + 1

    def forward(self, audio: Tensor) -> Tensor:
        features = self.mel(functional.pad(audio, (0, self.samples - audio.shape[-1]))).mT
        deviation = (features.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt()
        scaled: Tensor = (features - features.mean((1, 2), keepdim=True)) / (2 * deviation)
        return scaled


class _KaldiFrames(nn.Module):
    """Audio [clip, channel, sample] at `rate` -> frames [clip, frame, band], as ASTFeatureExtractor computes them.

    Unlike ASTFeatureExtractor this is differentiable and batched.
    """

    def __init__(self, rate: int, bands: int, frames: int, *, sampling_rate: int, mean: float, std: float):
        super().__init__()
        workaround_torchaudio()
        self.source_rate = rate
        self.rate, self.bands, self.frames = sampling_rate, bands, frames
        self.mean, self.std = mean, std

    def forward(self, audio: Tensor) -> Tensor:
        from torchaudio.compliance.kaldi import fbank

        mono = resample(audio.mean(1), self.source_rate, self.rate)
        mono = functional.pad(mono, (0, max(0, math.ceil(_WINDOW * self.rate) - mono.shape[-1])))

        def filter_bank(wave: Tensor) -> Tensor:
            bank: Tensor = fbank(wave[None], sample_frequency=self.rate, window_type="hanning", num_mel_bins=self.bands)
            return bank

        features: Tensor = torch.vmap(filter_bank)(mono)
        features = functional.pad(features, (0, 0, 0, self.frames - features.shape[1]))
        return (features - self.mean) / (2 * self.std)


def _loaded(folder: Path) -> Any:
    """Load a checkpoint without its head, in float32. Raises `DataError` where a weight is missing."""
    from safetensors import SafetensorError
    from transformers import ASTModel
    from transformers.utils import logging

    if (kind := _json(folder / "config.json").get("model_type")) != _KIND:
        raise DataError(f"ast: {folder} holds a model of type {kind!r}, expected {_KIND!r}")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        base, report = ASTModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise DataError(
            f"ast: the checkpoint in {folder} cannot be read: {str(error).strip().splitlines()[0]}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise DataError(f"ast: the checkpoint in {folder} lacks {len(missing)} weights, first {missing[0]}")
    return base


def _features_of(folder: Path) -> dict[str, Any]:
    """Read the sampling rate, mean and standard deviation of the checkpoint's training features."""
    file = folder / "preprocessor_config.json"
    preprocessor = _json(file) if file.is_file() else {}
    if not preprocessor.get("do_normalize", True):
        preprocessor = {**preprocessor, "mean": 0.0, "std": 0.5}  # (x - 0) / (2 * 0.5)
    features = {name: preprocessor.get(name, default) for name, default in _DEFAULTS.items()}
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in features.values()):
        raise DataError(f"ast: {file} holds {features}, expected numbers such as {_DEFAULTS}")
    features["sampling_rate"] = int(features["sampling_rate"])
    if features["sampling_rate"] < 1000 or not features["std"] > 0:
        raise DataError(f"ast: {file} holds {features}, expected a rate such as 16000 and a std above 0")
    return features


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `DataError` where the file holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"ast: {file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"ast: {file} holds a {type(content).__name__}, expected an object")
    return content
