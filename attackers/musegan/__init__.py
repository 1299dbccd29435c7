"""MuseGAN, an adversarial network that generates bars of several tracks at once, as piano rolls.

`size="full"` is the published one (`published.py`); `size="small"` (`networks.py`) plays the same game in less than a
minute on one processor. What is scored is what it generates: the energy score of held-out music in symbolic features.

What it reads: cells of windows of whole bars, published as bits ("discard velocity information"). A piano roll does not
separate adjacent notes of one pitch: of onsets nothing is read, so a note that is struck again where it sounds already
is the same bits, and so is any velocity. A defense that lengthens or adds notes is seen; one that does neither is not.

Dong, Hsiao, Yang, Yang, "MuseGAN: Multi-track Sequential Generative Adversarial Networks for Symbolic Music Generation
and Accompaniment", AAAI 2018; the networks are those of its repository, github.com/salu133445/musegan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Log, Needs, Rolls, ValidityCheck, check_range, silent_log
from bench.notes.pitches import LOWEST, PITCHES
from bench.training.learning import seeded

from .networks import Gan, small
from .published import full, wasserstein
from .scoring import energy, scale
from .training import Peak, game, generated_game, warm_start
from .windows import binary, by_roll, cut, shuffled, with_velocity

_SAMPLES, _SEED = 256, 20180202  # windows that a generator is scored by, and the seed that they are drawn from
_AT_ONCE = 64  # windows that are drawn together
_MEZZO_FORTE = 0.5  # velocity of what networks without velocities generate


@dataclass(frozen=True)
class MuseGan(Attacker[Rolls]):
    """A generator of bars and its critic; the defaults are the preset `small`.

    Attributes:
        size: "small", or the published networks and training, "full".
        bars: bars of a window, the unit that the networks read and generate.
        velocity: read and generate velocities; published: False, a cell only sounds or not.
        output: how the probability of a cell becomes a cell: "threshold" at 1/2, or a "bernoulli" draw.
        warm: steps of the autoencoder that initialises the generator; small size only.
        steps: steps of the adversarial training; of the full size, updates of the critic.
        batch: windows a step.
        lr: learning rate of the autoencoder; of the full size, that of generator and critic.
        evaluations: how often the generator is scored on the validation set during adversarial training.
        generated: the most rolls that `generate` returns; 0: as many as are asked for.
    """

    size: Literal["small", "full"] = "small"
    bars: int = 2
    velocity: bool = False
    output: Literal["threshold", "bernoulli"] = "threshold"
    warm: int = 600
    steps: int = 140
    batch: int = 24
    lr: float = 2e-3
    evaluations: int = 7
    generated: int = 64

    domains = ("midi",)
    needs = Needs(cpus=1, memory_gb=3.0)
    surrogate_optimizer = "adam"  # from random weights
    dataset = "band"
    bag = ("pianoroll_gru", "symphonynet")
    paper = "Dong et al. 2018, AAAI, arXiv:1709.06298"
    presets = {
        "smoke": {"warm": 150, "steps": 48, "evaluations": 2},
        "full": {"size": "full", "bars": 4, "steps": 50_000, "batch": 64, "lr": 1e-3, "evaluations": 100,
                 "generated": 0},
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_range(self, "bars", "warm", "steps", "batch", "evaluations", least=1)
        check_range(self, "lr", above=0)
        check_range(self, "generated", least=0)

    def model(self, like: Rolls, rng: Generator) -> nn.Module:
        """Build randomly initialised networks for windows of the tracks and the metre of `like`.

        Raises:
            DataError: size "full" does not support the metre.
        """
        shape = (len(like.programs), self.bars, like.beats_per_bar, like.steps_per_beat)
        with seeded(rng):
            gan = (small if self.size == "small" else full)(shape, self.velocity)
        return gan.to(like.device)

    def prior(self, model: nn.Module, train: Rolls) -> None:
        """Make every cell independent, with its frequency in `train` at that track, step of the bar and pitch."""
        assert isinstance(model, Gan)
        with torch.no_grad():
            model.count(self._read(cut(train, self.bars)[0]))

    def loss(self, model: nn.Module, batch: Rolls) -> Tensor:
        """Compute the networks' losses with the rolls as real music.

        The critic's hinge loss max(0, 1 - D); of the small size also the negative evidence lower bound of the
        autoencoder in nats a step (Kingma and Welling, ICLR 2014). Both are lower where the roll is easier to learn:
        noise that descends this loss raises D(x + noise), the opposite of noise that looks generated. Values are those
        of the binary cells; the gradient is straight-through.

        In training mode the game with generated samples is added (`training.generated_game`; equation 4 of Meerza et
        al. 2025), which depends on no roll: without samples a surrogate's critic would call everything real, and its
        slope in the rolls would soon be 0.

        Returns:
            float [roll], the mean over each roll's windows.
        """
        assert isinstance(model, Gan)
        windows, owner = cut(batch, self.bars)
        cells = self._read(windows)
        losses = functional.relu(1 - model.critic(model.seen(cells)))
        if model.encoder is not None:
            likelihood, divergence = model.bound(cells)
            losses = losses + (divergence - likelihood) / cells.shape[2]
        by_rolls = by_roll(losses, owner, len(batch))
        return by_rolls + generated_game(model, len(cells)) if model.training else by_rolls

    def learn(
        self, train: Rolls, validation: Rolls, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        """Count cells, then train the autoencoder (small size) and then the generator against the critic.

        Returns:
            The state with the best energy score on `validation`.
        """
        model = self.model(train, rng)
        assert isinstance(model, Gan)
        windows, held_out = cut(train, self.bars)[0], self._network_view(cut(validation, self.bars)[0])
        moments = scale(held_out)
        peak = Peak(model, lambda gan: float(energy(held_out, self._samples(gan, held_out), moments).mean()), log)

        def read(batch: Rolls) -> Tensor:
            return self._read(augment(batch, rng, model) if augment else batch)

        self.prior(model, train)
        peak.evaluate(0)
        model.counted.fill_(False)
        interval = max(1, self.steps // self.evaluations)
        with seeded(rng):
            if self.size == "full":
                wasserstein(
                    peak, windows, read, rng, steps=self.steps, batch=self.batch, lr=self.lr, interval=interval
                )  # fmt: skip
                return peak.restore()
            warm_start(peak, windows, read, rng, steps=self.warm, batch=self.batch, lr=self.lr)
            peak.evaluate(self.warm)
            game(
                peak, windows, read, rng, first=self.warm, steps=self.steps, batch=self.batch,
                interval=interval, bernoulli=self.output == "bernoulli",
            )  # fmt: skip
        return peak.restore()

    def quality(self, model: nn.Module, test: Rolls) -> Mapping[str, Tensor]:
        """Score 256 generated windows against the windows of `test`.

        Returns:
            float [roll] each: "energy", minus the energy score (scored), and "energy_shuffled", the same for the
            windows with the beats of every track shuffled, which is as high for a generator of the right notes at
            random times.
        """
        assert isinstance(model, Gan)
        windows, owner = cut(test, self.bars)
        real = self._network_view(windows)
        moments, samples = scale(real), self._samples(model, real)
        scores = {"energy": energy(real, samples, moments), "energy_shuffled": energy(shuffled(real), samples, moments)}
        return {name: by_roll(values, owner, len(test)) for name, values in scores.items()}

    def generate(self, model: nn.Module, like: Rolls, rng: Generator) -> Rolls:
        """Generate rolls of the length of `like`, window after window.

        Returns:
            As many rolls as `like` has, at most `generated`.
        """
        assert isinstance(model, Gan)
        like = like.select(range(min(len(like), self.generated or len(like))))
        count, tracks, steps = like.velocity.shape[:3]
        per_roll = -(-steps // (self.bars * model.bar))
        windows = self._generate_windows(model, count * per_roll, rng).view(count, per_roll, tracks, -1, PITCHES)
        low_padding, high_padding = LOWEST - like.lowest, like.lowest + like.velocity.shape[-1] - LOWEST - PITCHES
        cells = functional.pad(windows.transpose(1, 2).flatten(2, 3)[:, :, :steps], (low_padding, high_padding))
        return with_velocity(like, cells * like.support)

    def validity(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[ValidityCheck]:
        """Check that the clean arm beats independent cells, and generates music nearer to music than to shuffled beats.

        Measured margins of the check "structure", on `band`: 2.4 with the training set itself as the generator, 1.3 to
        1.6 for clean runs, -0.8 for the shuffled training set, -1.0 for independent cells. On `chorales`, whose beats
        are more alike: 0.06, 0.1 to 0.2, -0.2, -0.4.
        """
        gain = clean["energy"] - untrained["energy"]
        margin = clean["energy"] - clean["energy_shuffled"]
        return [
            ValidityCheck("clean beats counting", gain > 0, gain, 0.0,
                 "Held-out music is nearer to what the clean arm generates than to independent cells."),
            ValidityCheck("structure", margin > 0, margin, 0.0,
                 "Held-out music is nearer to what the clean arm generates than the same with its beats in disorder."),
        ]  # fmt: skip

    def view(self, data: Rolls) -> Tensor:
        """List the cells that the networks read.

        Returns:
            int64 [cell, 5]: roll, track, step, pitch, and MIDI velocity, or 1 where velocities are not read.
        """
        windows, owner = cut(data, self.bars)
        cells = (windows.velocity > 0).nonzero()
        roll = owner[cells[:, 0]]
        first = torch.searchsorted(owner, roll)  # the number of the roll's first window
        step = (cells[:, 0] - first) * windows.velocity.shape[2] + cells[:, 2]
        velocity = (
            (windows.velocity[windows.velocity > 0] * 127).round().long() if self.velocity else torch.ones_like(step)
        )
        return torch.stack([roll, cells[:, 1], step, cells[:, 3] + LOWEST, velocity], 1)

    def _read(self, windows: Rolls) -> Tensor:
        """Return cells [window, track, step, pitch] in the form that the networks read."""
        return windows.velocity if self.velocity else binary(windows.velocity)

    def _network_view(self, windows: Rolls) -> Rolls:
        """Return the windows with what the networks do not read removed."""
        return with_velocity(windows, self._read(windows).detach())

    def _generate_windows(self, model: Gan, count: int, rng: Generator) -> Tensor:
        """Generate `count` windows as velocities [window, track, step, pitch]."""
        chance = rng if self.output == "bernoulli" or model.counted else None
        with torch.no_grad():
            windows = torch.cat([model.sample(z, chance) for z in torch.split(model.prior(count, rng), _AT_ONCE)])
        return windows if self.velocity else windows * _MEZZO_FORTE

    def _samples(self, model: Gan, like: Rolls) -> Rolls:
        """Generate the windows that are scored, for every generator from the same z."""
        velocity = self._generate_windows(model, _SAMPLES, Generator().manual_seed(_SEED))
        names = tuple(map(str, range(_SAMPLES)))
        lengths, tempo = like.lengths.new_full((_SAMPLES,), velocity.shape[2]), like.tempo.new_full((_SAMPLES,), 120.0)
        windows = replace(
            like, velocity=velocity, onset=velocity > 0, ids=names, groups=names, lengths=lengths, tempo=tempo,
            labels=None, texts=(),
        )  # fmt: skip
        return with_velocity(windows, velocity)
