"""SymphonyNet, a linear transformer over note tokens, fine-tuned from songs or from scratch.

Liu et al., "Symphony Generation with Permutation Invariant Language Model", ISMIR 2022: MMR tokens and a positional
embedding that does not depend on the order of tracks (`encoding.py`), music BPE (`bpe.py`), four heads side by side,
causal linear attention (`transformer.py`); 512 wide, 12 layers deep, dropout 0.1 as published is `size="base"`. It has
no velocity token: what a defense changes of velocities alone, the published model reads to the bit as before.
`velocity=True` gives it one, read as a mixture of the two nearest bins and predicted by a fifth head, which is trained
and reported but never scored, since clean music alone cannot tell what velocities should be.
`encoding="octuple"` hands the same transformer a token a note (`octuple.py`), its six predicted fields independent
given the past, like those of MMR.

Scored in nats a *note*: the negative log-likelihood of all fields of a sequence (measures and positions too) over its
notes, so that merges and encodings do not change the unit. Training descends the same number; the published loss is
the mean of the four fields a token, which is the same but for a factor. Sequences longer than the context are scored
in windows that overlap by half; a training batch holds one window at random of each of its rolls.

The published code augments by nothing but new numbers for the tracks of every training window (`permute`).

Trained from scratch on some hundred rolls, a model learns which notes, rhythms and ranges there are, and hardly their
order: tunes with their notes shuffled in time teach it 95 % of what tunes teach. Weights that have read 2,847 rolls
of other songs are the default start: there they teach 22 % (`benchmarks/what_teaches.py`, `songs/MODEL_CARD.md`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Augment, Log, Needs, Rolls, ValidityCheck, check_range, silent_log
from bench.errors import DataError, UsageError
from bench.notes.rolls import notes_of
from bench.training.acceleration import Precision
from bench.training.learning import Budget, fit, seeded

from . import bpe, encoding, generation, octuple, weights
from .encoding import Tokens
from .transformer import Network, two_bins

LEAST_BY_ORDER = 0.5  # nats a note by which permuted times must be worse predicted
_SIZES = {"tiny": (64, 2, 4), "small": (96, 2, 4), "base": (512, 12, 16)}  # width, layers, heads


@dataclass(frozen=True)
class SymphonyNet(Attacker[Rolls]):
    """A transformer over notes; its defaults are the preset `small`.

    Attributes:
        pretrained: start from the shipped weights, of size "small" and MMR tokens; else from random ones, for which
            300 steps at a rate of 3e-3 are usual.
        size: "tiny", "small", or the published "base": width 512, 12 layers, 16 heads.
        encoding: "mmr", the published tokens, or "octuple", one token a note.
        velocity: read and predict velocities; published: False.
        velocity_bins: values of a velocity.
        merges: pitch merges of the BPE, learned from the attacker's own data; published: 700. Not for octuples.
        context: tokens of a window, 256 for some 180 notes of four parts; published: 4096.
        permute: renumber the tracks of every training window at random; published: True.
        dropout: published: 0.1; short trainings do better without.
        steps: optimiser steps.
        batch: rolls a step, one window of each.
        lr: peak learning rate of AdamW; published: 3e-4, at width 512, 12 layers and a batch of 128.
        evaluations: how often the model is scored on the validation set.
        generated: the most rolls that `generate` returns; 0: as many as are asked for.
        precision: of the training loss: "float32", "bfloat16", or "auto", which is bfloat16 on an accelerator.
        checkpointing: recompute layers for the gradient: less memory, a third more time.
    """

    pretrained: bool = True
    size: Literal["tiny", "small", "base"] = "small"
    encoding: Literal["mmr", "octuple"] = "mmr"
    velocity: bool = False
    velocity_bins: int = 32
    merges: int = 0
    context: int = 256
    permute: bool = False
    dropout: float = 0.0
    steps: int = 200
    batch: int = 8
    lr: float = 1e-3
    evaluations: int = 6
    generated: int = 16
    precision: Precision = "float32"
    checkpointing: bool = False

    domains = ("midi",)
    needs = Needs(cpus=1, memory_gb=3.0)
    surrogate_optimizer = "adam"  # as it is trained itself; from random weights SGD would not leave them
    dataset = "composers"
    bag = ("pianoroll_gru", "musegan")
    paper = "Liu et al. 2022, ISMIR"
    presets = {
        "smoke": {"steps": 60, "evaluations": 2, "generated": 8},
        # Published: 210,000 steps of 128 windows, on 46,359 pieces.
        "full": {"pretrained": False,
                 "size": "base", "merges": 700, "context": 4096, "permute": True, "dropout": 0.1, "steps": 20_000,
                 "batch": 16, "lr": 3e-4, "evaluations": 40, "generated": 0, "precision": "auto",
                 "checkpointing": True},
    }  # fmt: skip

    def resources(self) -> Needs:
        """Return what a stage needs: more for the size "base" with its context of 4096 tokens."""
        return replace(self.needs, memory_gb=8.0, accelerator_gb=16.0) if self.size == "base" else self.needs

    def __post_init__(self) -> None:
        check_range(self, "context", "steps", "batch", "evaluations", least=1)
        check_range(self, "lr", above=0)
        check_range(self, "merges", "generated", least=0)
        check_range(self, "dropout", least=0, most=1)
        check_range(self, "velocity_bins", least=2)
        if self.pretrained and (self.size, self.encoding) != ("small", "mmr"):
            raise UsageError(
                f"pretrained = true with size '{self.size}' and encoding '{self.encoding}': the shipped weights are of "
                "size 'small' and encoding 'mmr'; to train from scratch set pretrained = false, steps = 300, lr = 3e-3"
            )
        if self.encoding == "octuple" and self.merges:
            raise ValueError(f"merges = {self.merges} with octuples, expected 0: each of their tokens is one note")

    def model(self, like: Rolls, rng: Generator) -> nn.Module:
        """Build a network: pretrained, or with predictions that are nearly uniform over the values of every field."""
        width, layers, heads = _SIZES[self.size]
        bar, tracks = like.steps_per_beat * like.beats_per_bar, len(like.programs)
        if self.encoding == "octuple":
            inputs = octuple.vocabulary(bar, tracks)
            outputs = {name: inputs[name] for name in octuple.FIELDS}
        else:
            inputs = {"event": encoding.events(bar, self.merges), "duration": encoding.LONGEST, "track": tracks}
            outputs = {**inputs, "instrument": encoding.INSTRUMENTS}  # never read, as published
        with seeded(rng):
            network = Network(
                inputs, outputs, bar=bar, merges=self.merges, width=width, layers=layers, heads=heads,
                dropout=self.dropout, bins=self.velocity_bins if self.velocity else 0, checkpointing=self.checkpointing,
            )  # fmt: skip
        if self.pretrained:
            weights.load(network, bar)
        return network.to(like.device)

    def prior(self, model: nn.Module, train: Rolls) -> None:
        """Leave a pretrained model as it is; another predicts every field by its frequencies in `train`, plus 1/2."""
        assert isinstance(model, Network)
        self._count(model, train)
        if self.pretrained:
            return
        with torch.no_grad():
            for head in model.heads.values():
                head.weight.zero_()

    def loss(self, model: nn.Module, batch: Rolls) -> Tensor:
        """Compute the negative log-likelihood of all fields, and of velocities if they are read.

        Returns:
            float [roll], nats a note; differentiable in velocities if they are read, else in nothing.
        """
        assert isinstance(model, Network)
        return self._loss(model, self._encoded(model, batch))

    def learn(
        self, train: Rolls, validation: Rolls, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        """Train by AdamW on a cosine schedule; from scratch it starts from the frequencies of `train`.

        Every set is encoded once, unless batches are augmented; then all windows of a batch's rolls are trained on.

        Returns:
            The state of the highest likelihood on `validation`.
        """
        model = self.model(train, rng)
        assert isinstance(model, Network)
        self._count(model, train)
        encode_once = augment is None
        return fit(
            model,
            self._loss if encode_once else self.loss,
            self._encoded(model, train) if encode_once else train,
            self._encoded(model, validation),
            rng,
            Budget(self.steps, self.batch, self.lr, max(1, self.steps // self.evaluations), precision=self.precision),
            lambda model, held_out: -float(_total(self._read(model, held_out)[0]).mean()),
            augment=self._window if encode_once else augment, log=log,
        )  # fmt: skip

    def quality(self, model: nn.Module, test: Rolls) -> Mapping[str, Tensor]:
        """Measure log-likelihoods in nats a note, and accuracy.

        Returns:
            float [roll] each: "nll", of all fields but velocity (scored); "nll_FIELD", of one; "nll_shuffled", of the
            notes with start times and durations permuted, as high for a model that knows only which notes there are;
            "accuracy", how often the most likely event (of octuples: pitch) is right.
        """
        assert isinstance(model, Network)
        shuffled_rolls = encoding.shuffled(test)
        with torch.no_grad():
            nats, accuracy = self._read(model, self._encoded(model, test))
            shuffled_nats, _ = self._read(model, self._encoded(model, shuffled_rolls))
        each = {f"nll_{name}": -values for name, values in nats.items()}
        return {"nll": -_total(nats), **each, "nll_shuffled": -_total(shuffled_nats), "accuracy": accuracy}

    def generate(self, model: nn.Module, like: Rolls, rng: Generator) -> Rolls:
        """Generate rolls of the length of `like`; without velocities, every note is mezzo-forte.

        The whole past is used, beyond `context` too, which training never sees.

        Returns:
            As many rolls as `like` has, at most `generated`.
        """
        assert isinstance(model, Network)
        with torch.no_grad():
            return generation.sampled(model, like.select(range(min(len(like), self.generated or len(like)))), rng)

    def validity(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[ValidityCheck]:
        """Check what the clean arm learned, and that it predicts from the order of notes.

        From scratch, that it beats the frequencies of symbols and gains little on notes at permuted times. Fine-tuned,
        that it beats the pretrained model, and predicts notes worse at permuted times; whether it learned which notes
        there are and nothing else, the control `scramble` tells.
        """
        gain = clean["nll"] - untrained["nll"]
        if self.pretrained:
            by_order = clean["nll"] - clean["nll_shuffled"]
            return [
                ValidityCheck("clean beats base", gain > 0, gain, 0.0,
                     "Fine-tuning on clean music lowers the nats a note of held-out music."),
                ValidityCheck("order in time", by_order > LEAST_BY_ORDER, by_order, LEAST_BY_ORDER,
                     "Permuting the times of the test notes costs the clean arm nats a note: it reads their order."),
            ]  # fmt: skip
        ratio = (clean["nll_shuffled"] - untrained["nll_shuffled"]) / gain if gain > 0 else math.inf
        return [
            ValidityCheck("beats frequencies", gain > 1.0, gain, 1.0,
                 "The clean arm needs at least 1 nat a note less than the frequencies of single symbols do."),
            ValidityCheck("structure", ratio < 0.5, ratio, 0.5,
                 "The gain on notes at one another's times is a small share: what is learned is not which there are."),
        ]  # fmt: skip

    def view(self, data: Rolls) -> Tensor:
        """List the notes as the model reads them.

        Returns:
            int64 [note, 7 or 8]: roll, measure, position, track, program, pitch, duration, and MIDI velocity if it is
            read.
        """
        notes, bar = notes_of(data), data.steps_per_beat * data.beats_per_bar
        programs = torch.tensor(data.programs, device=data.device)[notes.track]
        rows = [notes.roll, notes.start // bar, notes.start % bar, notes.track, programs, notes.pitch,
                notes.duration.clamp(max=encoding.LONGEST)]  # fmt: skip
        return torch.stack([*rows, (notes.velocity * 127).round().long()] if self.velocity else rows, 1)

    def continuation(self, model: nn.Module, prompts: Rolls, continuations: Rolls, pairs: Tensor) -> Tensor:
        """Compute the log-likelihood of continuations after prompts: that of both joined, less that of the prompt.

        Returns:
            float [pair], nats a note of the continuation.
        """
        first, second = pairs.unbind(1)
        names = tuple(str(number) for number in range(len(pairs)))
        joined = replace(
            prompts,
            velocity=torch.cat([prompts.velocity[first], continuations.velocity[second]], 2),
            onset=torch.cat([prompts.onset[first], continuations.onset[second]], 2),
            ids=names, groups=names, texts=(), labels=None, classes=(),
            lengths=prompts.lengths[first] + continuations.lengths[second],
            tempo=prompts.tempo[first],
        )  # fmt: skip
        (before, prompt_notes), (both, notes) = self._sums(model, prompts), self._sums(model, joined)
        return (before[first] - both) / (notes - prompt_notes[first]).clamp(min=1)

    def _sums(self, model: nn.Module, rolls: Rolls) -> tuple[Tensor, Tensor]:
        """Compute the negative log-likelihood of whole rolls in nats, and count their notes: [roll] each."""
        assert isinstance(model, Network)
        tokens = self._encoded(model, rolls)
        notes = tokens.notes.sum(1)
        return _total(self._read(model, tokens)[0]) * notes.clamp(min=1), notes

    def _encoded(self, model: Network, rolls: Rolls) -> Tokens:
        """Encode rolls for a model. Raises `DataError` where measure or tracks are not those of the model."""
        shape = (rolls.steps_per_beat * rolls.beats_per_bar, len(rolls.programs))
        expected = (model.bar, model.heads["track"].out_features)
        if shape != expected:
            raise DataError(
                f"symphonynet: measures of {shape[0]} steps in {shape[1]} tracks, expected {expected[0]} in "
                f"{expected[1]}, "
                "as the model was built for"
            )
        return octuple.encoded(rolls) if self.encoding == "octuple" else encoding.encoded(rolls, model.merges)

    def _count(self, model: Network, train: Rolls) -> None:
        """Learn the merges; unless pretrained, set the heads' biases to the log frequencies of each field's values."""
        if self.merges:
            model.merges.copy_(bpe.learned(notes_of(train), self.merges))
        if self.pretrained:
            return
        tokens = self._encoded(model, train)
        velocity_bin = torch.where(
            tokens.notes > 0, (tokens.velocity.detach() * (self.velocity_bins - 1)).round().long(), -1
        )
        with torch.no_grad():
            for name, head in model.heads.items():
                values = velocity_bin if name == "velocity" else tokens.fields[name]
                counts = torch.bincount(values[values >= 0], minlength=head.out_features) + 0.5
                head.bias.copy_((counts / counts.sum()).log())

    def _window(self, tokens: Tokens, rng: Generator, model: nn.Module) -> Tokens:
        """Take a random window of every sequence."""
        latest_start = (tokens.inside.sum(1) - self.context).clamp(min=0)
        first = (
            torch.rand(len(tokens), generator=rng, device=rng.device).to(latest_start.device) * (latest_start + 1)
        ).long()
        return tokens.crop(min(self.context, tokens.inside.shape[1]), first)

    def _loss(self, model: nn.Module, tokens: Tokens) -> Tensor:
        """Compute the loss of encoded rolls: [roll], nats a note, of velocities too if they are read."""
        nats, _ = self._read(model, tokens)
        return _total(nats) + nats.get("velocity", 0.0)

    def _read(self, model: nn.Module, tokens: Tokens) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the negative log-likelihood of every field in nats a note, [roll] each, and the accuracy.

        The target of a velocity is the two bins next to it, weighted by nearness.
        """
        assert isinstance(model, Network)
        windows, is_counted = tokens.windows(min(self.context, tokens.inside.shape[1]))
        if model.training and self.permute:
            windows = _permuted(windows, model.heads["track"].out_features)
        logs = model(windows)

        def of_roll(values: Tensor) -> Tensor:
            return (values * is_counted).view(len(tokens), -1).sum(1)

        count = of_roll(windows.notes).clamp(min=1)
        nats = {}
        for name in (name for name in logs if name != "velocity"):
            target = windows.fields[name]
            nats[name] = -of_roll(_picked(logs[name], target.clamp(min=0)) * (target >= 0)) / count
        if "velocity" in logs:
            low, high, share = two_bins(windows.velocity, self.velocity_bins)
            mean = _picked(logs["velocity"], low) * (1 - share) + _picked(logs["velocity"], high) * share
            nats["velocity"] = -of_roll(mean * (windows.notes > 0)) / count
        first = "event" if self.encoding == "mmr" else "pitch"
        correct = of_roll((logs[first].detach().argmax(2) == windows.fields[first]).float())
        return nats, correct / of_roll(torch.ones_like(is_counted)).clamp(min=1)


def _total(nats: Mapping[str, Tensor]) -> Tensor:
    """Sum the fields that are scored: [roll]."""
    return torch.stack([values for name, values in nats.items() if name != "velocity"]).sum(0)


def _picked(logs: Tensor, index: Tensor) -> Tensor:
    """Select the value at `index` [sequence, token] from [sequence, token, value]."""
    return logs.gather(2, index[..., None])[..., 0]


def _permuted(tokens: Tokens, tracks: int) -> Tokens:
    """Renumber the tracks of every sequence at random, from the global generator, which `fit` seeds as for dropout."""
    numbers = torch.rand(len(tokens), tracks, device=tokens.inside.device).argsort(1)
    track = tokens.fields["track"]
    renumbered = torch.where(track >= 0, numbers.gather(1, track.clamp(min=0)), -1)
    return replace(tokens, fields={**tokens.fields, "track": renumbered})
