"""Ridge regression on random features of trimmed cepstra: a shallow learner, trained in closed form.

A recording is trimmed to where it is loud, its cepstra and their deltas are centred over the frames that are left and
averaged into 16 frames; a direction in that space is a whole word at one length. Random Fourier features of it
approximate a Gaussian kernel, and one linear system gives the classifier. With the few clips of a threat model it
learns more than the networks do, and marks that a deep network prefers as a shortcut deny it less.

There is no optimiser, so the loss that is descended by others (defenses, fine-tuning) is the cross-entropy, and what
the training minimises is the squared error to one-hot labels; the scale of the logits is chosen on `validation`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Clips, Epoch, Log, check_range, silent_log
from bench.sound.mel import LogMel
from bench.training import classification
from bench.training.learning import batches, seeded

_PENALTIES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # the features of a clip have a length of about 1
_SCALES = (1.0, 2.0, 4.0, 8.0)  # of the logits, relative to one-hot labels; at 16 a fitted clip's loss rounds to 0
_TIE = 1e-6  # weight of the log-likelihood as a tie-break: less than one clip's accuracy
_SAMPLES_AT_ONCE = 1 << 21  # which bounds the memory
_LEAST = 1e-9  # power of a silent clip: far below one step of 16 bits


@dataclass(frozen=True)
class Ridge(Attacker[Clips]):
    """Kernel ridge regression from cepstra to classes, by random features.

    Without `augment` one linear system is solved. With it, `epochs` versions of the training set are drawn, each of
    `epoch_items` clips and against the model of the versions before, and the system is solved after each: a part of a
    set then has as many rows in it as the whole. The best solution on `validation` is kept. Without `augment` every
    clip counts once, since repeating all of them only changes the unit of the penalty, which is chosen.

    Attributes:
        coefficients: cepstral coefficients a frame, at most `bands`; the first is the level.
        bands: mel bands that they are computed from.
        window_ms: length of an analysis window; the hop is half of it.
        centred: subtract each clip's mean over the trimmed recording (cepstral mean normalisation).
        trim_db: the recording is what lies between the first and the last frame less than this below the loudest.
        floor_db: power that is added to every band, below the loudest band of the clip: more hears softer sound, less
            is robust to noise.
        frames: frames that every recording is averaged into.
        features: random features, the learner's capacity.
        bandwidth: of the Gaussian kernel, relative to the length of a clip's vector: lower is more local.
        epochs: versions of the training set that are drawn if it is augmented.
        batch: clips that are augmented at once.
        lr: learning rate at which a defender trains it as a surrogate with Adam.
    """

    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    paper = "Rahimi and Recht 2007, NeurIPS (Random Features for Large-Scale Kernel Machines)"
    presets = {"full": {"epochs": 20, "features": 2048}}

    coefficients: int = 13
    bands: int = 40
    window_ms: float = 32.0
    centred: bool = True
    trim_db: float = 30.0
    floor_db: float = 40.0
    frames: int = 16
    features: int = 1024
    bandwidth: float = 0.8
    epochs: int = 8
    batch: int = 64
    lr: float = 0.03

    def __post_init__(self) -> None:
        check_range(self, "bands", "features", "epochs", "batch", least=1)
        check_range(self, "frames", least=2)
        check_range(self, "window_ms", "trim_db", "floor_db", "bandwidth", "lr", above=0)
        check_range(self, "coefficients", least=1, most=self.bands)

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        front = nn.Sequential(
            _Trimmed(like.rate, self), _Fourier(2 * self.coefficients * self.frames, self.features, self.bandwidth, rng)
        )
        with seeded(rng):
            head = nn.Linear(self.features, len(classification.classes(like)))
        return classification.WithFrontEnd(front, head).to(like.device)

    loss = staticmethod(classification.cross_entropy)
    quality = staticmethod(classification.quality)

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        model = self.model(train, rng).eval()
        assert isinstance(model, classification.WithFrontEnd)
        head = model.body
        assert isinstance(head, nn.Linear)
        held_out, truth = _features(model, validation), classification.labels(validation)
        best = _Solution.of(head).rated(held_out, truth)
        log(Epoch(0, validation=best.agreement))
        system = _System(self.features, head.out_features, train.device)
        order = batches(len(train), self.batch, rng)
        for version in range(self.epochs if augment else 1):
            if augment is None:
                system.add(_features(model, train), classification.labels(train))
            else:
                for index in itertools.islice(order, -(-train.epoch_items // self.batch)):
                    items = augment(train.select(index), rng, model)
                    system.add(_features(model, items), classification.labels(items))
            found = max((each.rated(held_out, truth) for each in system.solutions()), key=lambda each: each.agreement)
            found.put_into(head)
            log(Epoch(version + 1, found.error, found.agreement))
            best = max(best, found, key=lambda each: each.agreement)
        best.put_into(head)
        return model


class _Trimmed(nn.Module):
    """Audio [clip, channel, sample] -> trimmed cepstra and deltas [clip, value], of length 1; silence gives zeros."""

    def __init__(self, rate: int, options: Ridge):
        super().__init__()
        self.mel = LogMel(rate, options.bands, options.window_ms)
        from torchaudio.functional import create_dct  # after LogMel, which makes torchaudio importable

        self.options = options
        self.cosines: Tensor
        self.register_buffer("cosines", create_dct(options.coefficients, options.bands, "ortho"), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        from torchaudio.functional import compute_deltas

        power = self.mel.power(audio)
        power = power / power.amax((1, 2), keepdim=True).clamp_min(_LEAST)
        cepstra = ((power + 10 ** (-self.options.floor_db / 10)).log().mT @ self.cosines).mT
        first, last = self._ends(power.detach().mean(1))
        frame = torch.arange(cepstra.shape[-1], device=audio.device)
        inside = ((frame >= first) & (frame <= last)).to(cepstra.dtype)[:, None]
        if self.options.centred:
            cepstra = cepstra - (cepstra * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)
        cepstra = cepstra * inside
        both = torch.cat([cepstra, compute_deltas(cepstra, 5)], 1)
        values = (both @ self._averaging(first, last, frame, inside)).flatten(1)
        unit: Tensor = values / (values.square().sum(1, keepdim=True) + 1e-6).sqrt()
        return unit

    def _ends(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Find the first and the last loud frame by the power of frames [clip, frame]; a silent clip keeps all."""
        loud = level >= level.amax(1, keepdim=True) * 10 ** (-self.options.trim_db / 10)
        frames = level.shape[1]
        return loud.int().argmax(1, keepdim=True), frames - 1 - loud.flip(1).int().argmax(1, keepdim=True)

    def _averaging(self, first: Tensor, last: Tensor, frame: Tensor, inside: Tensor) -> Tensor:
        """Return triangular weights [clip, frame, position] of positions evenly spread between the ends."""
        count = self.options.frames
        spacing = (last - first).to(inside.dtype) / (count - 1)
        centre = first + spacing * torch.arange(count, device=frame.device)
        distance = (frame[:, None] - centre[:, None]).abs()
        weight = (1 - distance / spacing.clamp_min(1.0)[:, None]).clamp_min(0) * inside.mT
        return weight / weight.sum(1, keepdim=True).clamp_min(1e-6)


class _Fourier(nn.Module):
    """Random Fourier features [clip, feature] of a Gaussian kernel, of length about 1; nothing of it is trained."""

    def __init__(self, inputs: int, features: int, bandwidth: float, rng: Generator):
        super().__init__()
        self.directions: Tensor
        self.phases: Tensor
        directions = torch.randn(inputs, features, generator=rng, device=rng.device) / bandwidth
        self.register_buffer("directions", directions)
        self.register_buffer("phases", 2 * torch.pi * torch.rand(features, generator=rng, device=rng.device))

    def forward(self, values: Tensor) -> Tensor:
        waves: Tensor = torch.cos(values @ self.directions + self.phases) * math.sqrt(2 / len(self.phases))
        return waves


class _System:
    """Sums over rows of features and one-hot labels, in float64: what the solution depends on."""

    def __init__(self, features: int, classes: int, device: torch.device):
        self.rows = 0
        self.squares = torch.zeros(features, features, dtype=torch.float64, device=device)
        self.products = torch.zeros(features, classes, dtype=torch.float64, device=device)
        self.total = torch.zeros(features, dtype=torch.float64, device=device)
        self.counts = torch.zeros(classes, dtype=torch.float64, device=device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add rows."""
        rows = features.double()
        target = functional.one_hot(labels, len(self.counts)).double()
        self.rows += len(rows)
        self.squares += rows.T @ rows
        self.products += rows.T @ target
        self.total += rows.sum(0)
        self.counts += target.sum(0)

    def solutions(self) -> list[_Solution]:
        """Solve for every penalty."""
        mean, share = self.total / self.rows, self.counts / self.rows
        squares = self.squares - self.rows * torch.outer(mean, mean)
        products = self.products - self.rows * torch.outer(mean, share)
        variance = self.rows * (1 - share.square().sum())
        found = []
        for penalty in _PENALTIES:
            damped = squares.clone()
            damped.diagonal().add_(penalty)
            weight = torch.cholesky_solve(products, torch.linalg.cholesky(damped))
            error = (variance - 2 * (weight * products).sum() + (weight * (squares @ weight)).sum()) / self.rows
            found.append(_Solution(weight.T.float(), (share - mean @ weight).float(), float(error)))
        return found


@dataclass(frozen=True, eq=False)
class _Solution:
    """Weights of the head: [class, feature] and [class]."""

    weight: Tensor
    bias: Tensor
    error: float | None = None  # mean squared error on the training set
    agreement: float = 0.0  # with the labels that choose

    @classmethod
    def of(cls, head: nn.Linear) -> _Solution:
        """Copy the weights of a head."""
        return cls(head.weight.detach().clone(), head.bias.detach().clone())

    def put_into(self, head: nn.Linear) -> None:
        """Set the weights of a head."""
        with torch.no_grad():
            head.weight.copy_(self.weight)
            head.bias.copy_(self.bias)

    def rated(self, features: Tensor, truth: Tensor) -> _Solution:
        """Scale the logits so that held-out labels are likeliest; small sets have many equal accuracies."""
        logits = functional.linear(features, self.weight, self.bias)
        likelihood, scale = max((-float(functional.cross_entropy(logits * scale, truth)), scale) for scale in _SCALES)
        accuracy = float((logits.argmax(1) == truth).float().mean())
        return _Solution(self.weight * scale, self.bias * scale, self.error, accuracy + _TIE * likelihood)


def _features(model: classification.WithFrontEnd, items: Clips) -> Tensor:
    """Compute the features of a set, a part at a time."""
    size = max(1, _SAMPLES_AT_ONCE // max(1, items.audio[:1].numel()))
    with torch.no_grad():
        return torch.cat([model.front(part) for part in torch.split(items.audio, size)])
