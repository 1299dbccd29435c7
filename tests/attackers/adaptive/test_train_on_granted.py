"""Training on granted items alone: nothing published has an effect, and the steps are those of all items."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from bench import plugins
from bench.api import Clips, silent_log
from bench.errors import DataError, UsageError

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


class Watched(Linear):  # type: ignore[misc]
    """Keeps the set of every training."""

    def learn(self, train: Clips, *given: Any, **named: Any) -> nn.Module:
        trained.append(train)
        model: nn.Module = super().learn(train, *given, **named)
        return model


trained: list[Clips] = []


def model_of(published: Clips, granted: Clips, **given: Any) -> nn.Module:
    plugin: Any = plugins.build("adaptations", "train_on_granted", given)
    model: nn.Module = plugin.train_with_granted(
        Watched(), published, granted, granted, Generator().manual_seed(0), log=silent_log
    )
    return model


def test_published_items_have_no_effect() -> None:
    clean = Tones(clips=40).load("train")
    published, granted = clean.select(range(28)), clean.select(range(28, 40))
    silent = published.with_audio(published.audio * 0)
    one, other = (model_of(each, granted).state_dict() for each in (published, silent))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert trained[-1].ids == granted.ids


@pytest.mark.parametrize(("budget", "items"), [(1.0, 40), (0.25, 10)])
def test_the_budget_is_a_share_of_all_items(budget: float, items: int) -> None:
    clean = Tones(clips=40).load("train")
    model_of(clean.select(range(28)), clean.select(range(28, 40)), budget=budget)
    assert trained[-1].epoch_items == items
    model_of(replace(clean.select(range(10)), whole=28), clean.select(range(28, 40)), budget=budget)
    assert trained[-1].epoch_items == items


def test_without_granted_items_it_is_refused() -> None:
    clean = Tones(clips=4).load("train")
    with pytest.raises(DataError, match="granted"):
        model_of(clean, clean.select([]))


@pytest.mark.parametrize("budget", [0.0, 1.5])
def test_parameters_that_make_no_sense_are_refused(budget: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "train_on_granted", {"budget": budget})
