"""The bases that plugins inherit: `Dataset`, `Defense`, `Attacker`, `Adaptation`, and the values they exchange.

Every attribute and method of the contract is declared here, with a type, a default and a docstring. A plugin overrides
what it needs; `bench.declarations` refuses, when a plugin is loaded, a name that no base declares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from torch import Generator, Tensor, nn

from bench.api.log import Log, silent_log
from bench.api.plugin import Plugin
from bench.api.sets import Clips, Data, Rolls
from bench.vocabulary import (
    Content,
    Control,
    DomainName,
    Needs,
    Optimizer,
    Per,
    Preset,
    Requirement,
    Task,
    ValidityCheck,
)

__all__ = ["Adaptation", "Attacker", "Augment", "Dataset", "Defense", "Knowledge", "Needs", "Plugin"]

S = TypeVar("S", bound=Clips | Rolls)  # the kind of set that a plugin works on: Clips, Rolls or Data for both
Augment: TypeAlias = Callable[[Any, Generator, nn.Module], Any]
"""Changes a batch of the training: (batch, generator, the model as it is at this step) -> batch."""


@dataclass(frozen=True)
class Knowledge:
    """What the defender knows of the attacker.

    Attributes:
        name: "white-box", "ensemble", "black-box" or "none".
        surrogates: white-box: the trial's own attacker; ensemble: several with it, black-box: without it; none: empty.
        expects: the adaptations that the defender prepares for (expectation over transforms).
        reference: for a matched control only: the protected set whose audibility the control must have.
        log: a defense that descends a loss may call it once a round. Kept in the record, never scored.
    """

    name: str = "none"
    surrogates: tuple[Attacker[Any], ...] = ()
    expects: tuple[Adaptation[Any], ...] = ()
    reference: Data | None = None
    log: Log = silent_log


class Dataset(Plugin, ABC, Generic[S]):
    """A named, versioned source of clips or rolls, split by group.

    A card of the same name (`datasets/NAME.toml`) states licence, citation, sizes, splits and checksums.
    """

    domain: DomainName | None = None
    """Declare a field of this name, with one of `domains`, if it can give both; the trial sets it to the attacker's."""

    content: ClassVar[Content] = ""
    """Set to "speech" to have PESQ and STOI measured."""

    threat: ClassVar[Mapping[DomainName, Mapping[Preset, Mapping[str, Any]]]] = {}
    """Domain -> preset -> what a run publishes and grants, unless it is told otherwise: `published`, `granted`, `sizes`
    and `replacement`, as in the `[threat]` of a suite. `published` should lie where the clean curve still rises. A
    replacement with parameters is a table: {"plugin": NAME, ...}. Without an entry a run has no clean curve."""

    @abstractmethod
    def load(self, split: str) -> S:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            The items. No group is in two splits.

        Raises:
            DataError: if the data are not here or cannot be used, or there is no such split.
        """


class Defense(Plugin, ABC, Generic[S]):
    """Turns a training set into a protected one, under an audibility budget."""

    per: Per = ""
    """What one perturbation is made for: "clip", "class" (it then gives the labels away) or "set". May be a field.
    Tables rank them apart."""

    epsilon: float | None = None
    """A bound on |noise|, if it keeps one: it is then checked. Usually a field."""

    padding: bool = False
    """Whether noise may lie in the zero padding, which the lengths that come back then count. May be a field."""

    control: ClassVar[Control] = Control.NONE
    """What it is a control for, if it is one."""

    joint: ClassVar[bool] = False
    """Whether the noise of one item depends on the other items."""

    deterministic: ClassVar[bool] = False
    """Whether it does not use the generator, so that every seed gives the same noise."""

    unoptimised: ClassVar[Mapping[DomainName, Mapping[str, Any]]] = {}
    """Domain -> the parameters with which its noise is not optimised but random within the same bounds, such as
    {"audio": {"optimise": False}}: its matched control where a suite has `controls = ["random"]`, in other domains the
    defense `noise`. With these parameters `protect` makes its noise as loud as that of `knowledge.reference`."""

    @abstractmethod
    def protect(self, data: S, knowledge: Knowledge, rng: Generator) -> S:
        """Protect a training set.

        Args:
            data: the items to publish. Not to be changed in place.
            knowledge: what the defender knows of the attacker.
            rng: The only source of random numbers.

        Returns:
            The same ids in the same order, the same shapes and rate; nothing in the zero padding unless `padding`.
        """


class Attacker(Plugin, ABC, Generic[S]):
    """Trains a model on a training set: a classifier or a generator."""

    dataset: ClassVar[str] = ""
    """The data set that `bench run` takes when none is named."""

    bag: ClassVar[tuple[str, ...]] = ()
    """Other attackers, by name: whom a defender crafts against who does not know this one, where the run names none."""

    task: ClassVar[Task] = ""
    """Set to "classify" if it is tested on its own input: a preprocessing adaptation then changes validation and test
    items as well."""

    seen: ClassVar[tuple[str, ...]] = ()
    """Data sets that its pretrained weights have seen. A cell on one of them is flagged as contaminated."""

    surrogate_optimizer: ClassVar[Optimizer] = "sgd"
    """Optimiser by which a defender trains it as a surrogate, where the defense leaves the choice. "adam" (at `lr`) for
    a generator that starts from random weights, which plain SGD would leave where it was."""

    epochs: int | None = None
    """Passes over the training set, each of `train.epoch_items` items, if it counts its training by them. A field."""

    lr: float = 1e-3
    """Learning rate at which a defender trains it as a surrogate with Adam. Usually a field."""

    _optional = ("inventory", "fingerprint", "resources", "generate", "validity", "prior", "view", "continuation")

    @abstractmethod
    def model(self, like: S, rng: Generator) -> nn.Module:
        """Build the untrained model, or load the pretrained base.

        Args:
            like: items of the kind it will be trained on: rate, classes, tracks and device are read from it.
            rng: decides the weights.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: S) -> Tensor:
        """Compute the training loss, which every surrogate-based defense differentiates.

        Args:
            model: A model that `model` or `learn` returned.
            batch: Items of the training set.

        Returns:
            float [item], differentiable with respect to the batch's audio or velocity.
        """

    @abstractmethod
    def learn(
        self, train: S, validation: S, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        """Train a model by its own loop, by `self.loss`, within its own budget.

        Args:
            train: the training set.
            validation: a clean set for the choice of the checkpoint.
            rng: The only source of random numbers.
            augment: called with each batch of items, the generator and the model as it is, before the loss is taken;
                None where no batch is changed, so that features may be computed once.
            log: Called once an epoch.

        Returns:
            The model at its best on `validation`.
        """

    @abstractmethod
    def quality(self, model: nn.Module, test: S) -> Mapping[str, Tensor]:
        """Score a model on held-out items.

        Args:
            model: A model that `model` or `learn` returned.
            test: Clean held-out items.

        Returns:
            Metric -> float [item], higher is better. The first metric is the one that is scored.
        """

    def generate(self, model: nn.Module, like: S, rng: Generator) -> S:
        """Generate new material. Optional.

        Args:
            model: A trained model.
            like: Items whose number, length, rate and tracks the result has.
            rng: The only source of random numbers.

        Returns:
            A set of the same kind.
        """
        raise NotImplementedError(f"{type(self).__name__} does not generate")

    def validity(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[ValidityCheck]:
        """Name the conditions without which a cell is void. Optional.

        Args:
            clean: metric -> mean quality of the model trained on clean items.
            untrained: metric -> mean quality of the untrained model.
        """
        return ()

    def prior(self, model: nn.Module, train: S) -> None:
        """Change a fresh model in place into the untrained arm of the score. Optional.

        For models that are trained from scratch: the untrained arm then knows the frequencies of single symbols alone.

        Args:
            model: A model that `model` returned.
            train: The clean training set.
        """
        raise NotImplementedError(f"{type(self).__name__} has no prior")

    def view(self, data: S) -> Tensor:
        """Return what the model reads of a set: shows the share of the input that a defense changed. Optional.

        Args:
            data: Any items.

        Returns:
            int64 [element, 1 + field]: a row for each element (a note, a cell), the item's index first, in any order.
        """
        raise NotImplementedError(f"{type(self).__name__} has no view")

    def continuation(self, model: nn.Module, prompts: S, continuations: S, pairs: Tensor) -> Tensor:
        """Compute how likely continuations are: trials then measure what was memorised. Optional.

        Args:
            model: A model that `model` or `learn` returned.
            prompts: Parts of items, all of one length; `continuations`: likewise, what may follow them.
            pairs: int64 [pair, 2]: a prompt and a continuation, by number.

        Returns:
            float [pair], log-likelihood of the continuation after the prompt, nats a token (or note).
        """
        raise NotImplementedError(f"{type(self).__name__} continues nothing")


class Adaptation(Plugin, Generic[S]):
    """What an attacker does to win anyway: any of five hooks. Those that are not overridden do nothing."""

    preprocess: ClassVar[bool] = False
    """Whether `transform` keeps every clip and what it says, and so can stand before a trained classifier too."""

    aligned: ClassVar[bool] = True
    """Whether `transform` keeps the sound in its place in time."""

    requires: ClassVar[tuple[Requirement, ...]] = ()
    """What it must be given beside the published items: "labels" (of a class each), "pairs" (clean items and what the
    public defense makes of them), "granted" (the clean items of the threat model)."""

    sweep: ClassVar[tuple[str, float, float] | None] = None
    """The parameter that decides how strong it is, with the weakest and the strongest value that make sense, such as
    ("snr_db", 40.0, 5.0): what `bench attack` searches. Whole numbers for a whole-numbered parameter."""

    _optional = (
        "inventory", "fingerprint", "resources",
        "transform", "transform_with_pairs", "augment", "train", "train_with_granted",
    )  # fmt: skip

    def transform(self, data: S, rng: Generator) -> S:
        """Change the published set once, before training (mp3, resample, denoise, remove what looks protected).

        Args:
            data: The published items. Not to be changed in place.
            rng: The only source of random numbers.

        Returns:
            A set of the same kind.
        """
        return data

    def transform_with_pairs(self, data: S, clean: S, protected: S, rng: Generator) -> S:
        """Change the published set once, by what pairs of clean and protected items tell. Optional; requires "pairs".

        It takes the place of `transform`. The pairs are the attacker's granted items for training, and what the trial's
        own defense makes of them with other random numbers; where clean items are published, twice the clean ones.

        Args:
            data: The published items; the attacker does not know which of them are protected.
            clean: Granted items, none of which is published.
            protected: The same ids in the same order, protected; the lengths count noise in the padding.
            rng: The only source of random numbers.

        Returns:
            A set of the same kind.
        """
        raise NotImplementedError(f"{type(self).__name__} learns nothing from pairs")

    def augment(self, batch: S, rng: Generator) -> S:
        """Change each batch of the training.

        Args:
            batch: Items of the training set. Not to be changed in place.
            rng: The only source of random numbers.

        Returns:
            As many items of the same kind.
        """
        return batch

    def train(self, attacker: Attacker[Any], train: S, validation: S, rng: Generator, *, log: Log) -> nn.Module:
        """Train in another way than `attacker.learn`, which it may call (adversarial training, worst of K).

        Args:
            attacker: The attacker.
            train: The training set, after `transform`; under a threat model with the granted items for training.
            validation: A clean set for the choice of the checkpoint.
            rng: The only source of random numbers.
            log: Called once an epoch.

        Returns:
            A model that `attacker.quality` can score.
        """

        def augment(batch: S, rng: Generator, model: nn.Module) -> S:
            return self.augment(batch, rng)

        if not self.implements("augment"):
            return attacker.learn(train, validation, rng, log=log)
        return attacker.learn(train, validation, rng, augment=augment, log=log)

    def train_with_granted(
        self, attacker: Attacker[Any], train: S, granted: S, validation: S, rng: Generator, *, log: Log
    ) -> nn.Module:
        """Train on the published items and on the granted ones in different ways. Optional; requires "granted".

        Args:
            attacker: The attacker.
            train: The published items; the attacker does not know which of them are protected.
            granted: Clean items for training.
            validation: Clean items for the choice of the checkpoint.
            rng: The only source of random numbers.
            log: Called once an epoch.

        Returns:
            A model that `attacker.quality` can score.
        """
        raise NotImplementedError(f"{type(self).__name__} does not train on granted items apart")
