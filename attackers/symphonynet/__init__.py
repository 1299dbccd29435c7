"""SymphonyNet, a linear transformer over multi-track note tokens, trained from scratch.

Liu et al., "Symphony Generation with Permutation Invariant Language Model", ISMIR 2022: MMR tokens (`encoding.py`),
3-D positional embedding, music BPE (`bpe.py`), four heads, causal linear attention (`transformer.py`); 512 wide and 12
layers deep as published ("base"). It has no velocity token: what a defense changes of velocities alone, the published
model reads to the bit as before. `velocity = true` gives it one, as input and as a fifth head that is trained and
reported but never scored, since clean music has no noise in that field.

Scored in nats a *note*: the negative log-likelihood of all fields of a sequence (events of measures and positions too)
over its notes, so that merges and sequence lengths do not change the unit. Training descends the same number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Augment, Gate, Log, Needs, Rolls, silent_log, unchanged
from bench.learning import fit, seeded
from bench.sound.rolls import notes_of

from . import bpe, generation
from .encoding import LONGEST, Tokens, encoded, shuffled
from .transformer import Network, two_bins

_SIZES = {"tiny": (64, 2, 4), "small": (96, 2, 4), "base": (512, 12, 16)}  # width, layers, heads
_FIELDS = ("event", "duration", "track", "instrument")


@dataclass(frozen=True)
class SymphonyNet:
    """The transformer; its defaults are the preset `small`."""

    size: Literal["tiny", "small", "base"] = "small"
    velocity: bool = False  # read and predict velocities; published: no
    velocity_bins: int = 32
    merges: int = 0  # of the BPE, learnt from the attacker's own data; published: 700
    context: int = 256  # tokens; longer sequences are cut into windows
    dropout: float = 0.1
    steps: int = 250
    batch: int = 12
    lr: float = 3e-3  # published: 3e-4, at 512 x 12 and a batch of 128
    evaluations: int = 6
    generated: int = 32  # how many rolls it generates when asked for more; 0: all

    domains: ClassVar[tuple[str, ...]] = ("midi",)
    needs: ClassVar[Needs] = Needs(cpus=1, memory_gb=3.0)
    dataset: ClassVar[str] = "chorales"
    bag: ClassVar[tuple[str, ...]] = ("pianoroll_gru", "musegan")
    paper: ClassVar[str] = "Liu et al. 2022, ISMIR"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"size": "tiny", "steps": 150, "evaluations": 2, "generated": 8},
        "full": {"size": "base", "merges": 700, "context": 4096, "steps": 210_000, "batch": 128, "lr": 3e-4,
                 "evaluations": 42, "generated": 0},
    }  # fmt: skip

    def model(self, like: Rolls, rng: Generator) -> nn.Module:
        """A network that expects all entries of every field about alike."""
        width, layers, heads = _SIZES[self.size]
        bar = like.steps_per_beat * like.beats_per_bar
        with seeded(rng):
            network = Network(
                bar, len(like.programs), self.merges, width, layers, heads, self.dropout,
                self.velocity_bins if self.velocity else 0,
            )  # fmt: skip
        return network.to(like.device)

    def prior(self, model: nn.Module, train: Rolls) -> None:
        """How often every entry of every field stands in the training set, add 1/2, whatever was before it."""
        assert isinstance(model, Network)
        self._count(model, train)
        with torch.no_grad():
            for head in model.heads.values():
                head.weight.zero_()

    def loss(self, model: nn.Module, batch: Rolls) -> Tensor:
        """[roll]: nats a note, those of velocities included where it has them; differentiable in them, else in nothing.

        Error-minimising noise lowers it.
        """
        assert isinstance(model, Network)
        return self._loss(model, encoded(batch, model.merges))

    def learn(
        self, train: Rolls, validation: Rolls, rng: Generator, *, augment: Augment = unchanged, log: Log = silent_log
    ) -> nn.Module:
        """AdamW with a cosine, from the frequencies of its own data on; what predicts clean music best is kept.

        Every set is encoded once, unless each batch is augmented anew.
        """
        model = self.model(train, rng)
        assert isinstance(model, Network)
        self._count(model, train)
        once = augment is unchanged
        return fit(
            model,
            self._loss if once else self.loss,
            encoded(train, model.merges) if once else train,
            encoded(validation, model.merges),
            rng,
            steps=self.steps, batch=self.batch, lr=self.lr,
            quality=lambda model, held_out: -float(self._scored(model, held_out).mean()),
            evaluate_every=max(1, self.steps // self.evaluations), augment=augment, log=log,
        )  # fmt: skip

    def quality(self, model: nn.Module, test: Rolls) -> Mapping[str, Tensor]:
        """[roll] each, minus nats a note: of all fields (scored), of each, of velocities (never scored).

        "nll_shuffled" is of the same notes at one another's times, which a model that knows which notes there are
        predicts as well.
        """
        assert isinstance(model, Network)
        with torch.no_grad():
            each = self._nats(model, encoded(test, model.merges))
            mixed = encoded(shuffled(test, [_seed(name) for name in test.ids]), model.merges)
            found = {"nll": -self._total(each), **{f"nll_{name}": -each[name] for name in _FIELDS}}
            if self.velocity:
                found["nll_velocity"] = -each["velocity"]
            return {**found, "nll_shuffled": -self._scored(model, mixed)}

    def generate(self, model: nn.Module, like: Rolls, rng: Generator) -> Rolls:
        """New music, as many rolls (up to `generated`) as `like` and as long; without velocities, every note is mf."""
        assert isinstance(model, Network)
        return generation.sampled(model, like.select(range(min(len(like), self.generated or len(like)))), rng)

    def gates(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[Gate]:
        """Whether what the clean arm learned is music: less is gained where notes have one another's times."""
        gain = clean["nll"] - untrained["nll"]
        ratio = (clean["nll_shuffled"] - untrained["nll_shuffled"]) / gain if gain > 0 else math.inf
        meaning = (
            "The gain on notes at one another's times is a part of it: what is learned is more than which there are."
        )
        return [Gate("structure", ratio < 0.6, ratio, 0.6, meaning)]

    def view(self, data: Rolls) -> Tensor:
        """(roll, step, track, program, pitch, duration, velocity bin) of every note, a bin of 0 where it reads none."""
        notes = notes_of(data)
        loud = (notes.velocity * (self.velocity_bins - 1)).round().long() if self.velocity else 0 * notes.roll
        programs = torch.tensor(data.programs, device=data.device)[notes.track]
        rows = (notes.roll, notes.start, notes.track, programs, notes.pitch, notes.duration.clamp(max=LONGEST), loud)
        return torch.stack(rows, 1)

    def _count(self, model: Network, train: Rolls) -> None:
        """Learn the merges, and how frequent each entry of each field is: the biases of the heads."""
        if self.merges:
            model.merges.copy_(bpe.learned(notes_of(train), self.merges))
        tokens = encoded(train, model.merges)
        with torch.no_grad():
            for name, head in model.heads.items():
                assert isinstance(head, nn.Linear)
                values = _bins(tokens, self.velocity_bins) if name == "velocity" else getattr(tokens, name)
                there = tokens.inside if name == "event" else tokens.notes > 0
                counts = torch.bincount(values[there], minlength=head.out_features) + 0.5
                head.bias.copy_((counts / counts.sum()).log())

    def _loss(self, model: nn.Module, tokens: Tokens) -> Tensor:
        each = self._nats(model, tokens)
        return self._total(each) + (each["velocity"] if self.velocity else 0.0)

    def _scored(self, model: nn.Module, tokens: Tokens) -> Tensor:
        return self._total(self._nats(model, tokens))

    def _total(self, each: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([each[name] for name in _FIELDS]).sum(0)

    def _nats(self, model: nn.Module, tokens: Tokens) -> dict[str, Tensor]:
        """[roll] of every field: nats a note. Velocities are a mixture of the two bins that they lie between."""
        assert isinstance(model, Network)
        windows = tokens.windows(min(self.context, tokens.event.shape[1]))
        predicted = model(windows)
        played = windows.notes > 0
        nats = {}
        for name in _FIELDS:
            there = windows.inside if name == "event" else played
            target = getattr(windows, name).clamp(min=0)
            nats[name] = -getattr(predicted, name).gather(2, target[..., None])[..., 0] * there
        if predicted.velocity is not None:
            low, high, share = two_bins(windows.velocity, self.velocity_bins)
            logs = [predicted.velocity.gather(2, at[..., None])[..., 0] for at in (low, high)]
            nats["velocity"] = -(logs[0] * (1 - share) + logs[1] * share) * played
        count = tokens.notes.sum(1).clamp(min=1)
        return {name: values.view(len(tokens), -1).sum(1) / count for name, values in nats.items()}


def _bins(tokens: Tokens, bins: int) -> Tensor:
    return (tokens.velocity.detach() * (bins - 1)).round().long()


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
