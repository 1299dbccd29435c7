"""A generator that keeps its training recordings and rates a sound by how near the nearest of them is."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Augment, Clips, Epoch, Log, silent_log

ROOM = 64  # recordings that a model holds


class _Model(nn.Module):
    def __init__(self, samples: int):
        super().__init__()
        self.kept = nn.Parameter(torch.zeros(ROOM, samples))


@dataclass(frozen=True)
class Recall(Attacker[Clips]):
    presets = {"smoke": {}}

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        return _Model(like.audio.shape[-1])

    def loss(self, model: nn.Module, batch: Clips) -> Tensor:
        return self._distance(model, batch.audio[:, 0])

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        model = self.model(train, rng)
        assert isinstance(model, _Model)
        with torch.no_grad():
            model.kept[: len(train)] = train.audio[:, 0]
        log(Epoch(0, 0.0))
        return model

    def quality(self, model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
        return {"nearness": -self._distance(model, test.audio[:, 0])}

    def continuation(self, model: nn.Module, prompts: Clips, continuations: Clips, pairs: Tensor) -> Tensor:
        return -self._distance(
            model, torch.cat([prompts.audio[pairs[:, 0], 0], continuations.audio[pairs[:, 1], 0]], 1)
        )

    def _distance(self, model: nn.Module, audio: Tensor) -> Tensor:
        """The mean squared distance to the nearest recording that is kept, or to silence."""
        assert isinstance(model, _Model)
        return (audio[:, None] - model.kept[None]).square().mean(2).amin(1)
