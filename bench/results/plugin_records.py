"""The plugins and settings of a trial, as its record holds them."""

from __future__ import annotations

from typing import Any

import pydantic

from bench.results.names import JOINT, NONE, row_name
from bench.results.threat import ThreatModel
from bench.vocabulary import Control

__all__ = ["PartRecord", "Strict", "TrialRecord"]


class Strict(pydantic.BaseModel):
    """A model that refuses unknown fields and is not changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class PartRecord(Strict):
    """A plugin as it was used, or a chain of adaptations, which has nothing of its own but its name.

    Attributes:
        name: The plugin's name.
        label: What tables call it: the name, unless a suite says otherwise.
        version: The version that it declares.
        digest: A digest of its source.
        data: A fingerprint of the files that it reads beside its source; "" for none.
        overrides: The parameters that the user set.
        params: Every parameter.
        links: Of a chain, its adaptations in order; their labels, joined by `+`, are its label.
    """

    name: str
    label: str
    version: int
    digest: str
    data: str = ""
    overrides: dict[str, Any]
    params: dict[str, Any]
    links: list[PartRecord] = []

    @pydantic.model_validator(mode="after")
    def _is_called_by_its_links(self) -> PartRecord:
        """Refuse a chain whose name says other adaptations than it holds, and a chain of chains."""
        name = JOINT.join(link.label for link in self.links)
        if self.links and self.label != name:
            raise ValueError(f"the chain '{self.label}' has other links, expected the label '{name}'")
        if any(link.links for link in self.links):
            raise ValueError(f"the chain '{self.label}' has a chain as a link, expected adaptations")
        return self

    @pydantic.model_serializer(mode="wrap")
    def _without_links(self, serialise: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the links of a plugin that is no chain, as older programs read it."""
        data: dict[str, Any] = serialise(self)
        if not self.links:
            data.pop("links", None)
        return data


class TrialRecord(Strict):
    """A trial's plugins and settings.

    Attributes:
        dataset: The data set that is published.
        defense: The defense that protects it.
        knowledge: What the defender knows of the attacker: white-box, ensemble, black-box or none.
        surrogates: The attackers that the defender may use, by `knowledge`.
        expects: The adaptations that the defender prepares for.
        reference: The defense that a matched control is as audible as.
        adaptation: The attacker's adaptation; None for none.
        attacker: The attacker.
        seed: The seed of all random numbers.
        preset: The budget: smoke, small or full.
        control: Which control this is: clean, matched or scramble; "" for a defense.
        share: The share of the training clips that is protected; or the class that alone is.
        scope: What one perturbation is made for: clip, class or set.
        threat: How much is published and granted; None where the whole training set is published.
        replacement: The data set that the attacker trains on as well.
    """

    dataset: PartRecord
    defense: PartRecord
    knowledge: str
    surrogates: list[PartRecord]
    expects: list[PartRecord]
    reference: PartRecord | None
    adaptation: PartRecord | None
    attacker: PartRecord
    seed: int
    preset: str
    control: Control
    share: float | str = 1.0
    scope: str = ""
    threat: ThreatModel | None = None
    replacement: PartRecord | None = None

    @pydantic.model_validator(mode="after")
    def _only_adaptations_are_chains(self) -> TrialRecord:
        """Refuse a chain of other plugins."""
        others = (self.dataset, self.defense, self.reference, self.attacker, self.replacement, *self.surrogates)
        if any(part and part.links for part in others):
            raise ValueError("a plugin that is no adaptation has links, expected none")
        return self

    @property
    def row(self) -> str:
        """The defense's name in a table: with what it is matched to, and the share of the set that it protects."""
        return row_name(self.defense.label, self.reference.label if self.reference else "", self.share)

    @property
    def adaptation_label(self) -> str:
        """The label of the adaptation, or "none"."""
        return self.adaptation.label if self.adaptation else NONE

    @property
    def has_chain(self) -> bool:
        """Whether the attacker, or what the defender prepares for, is a chain of adaptations."""
        return any(part and part.links for part in (self.adaptation, *self.expects))
