"""The loss filter: what is learnt first leaves, and the rest is trained on for as many steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from bench import plugins
from bench.api import Clips, silent_log
from bench.errors import UsageError

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


class Watched(Linear):  # type: ignore[misc]
    """Keeps the set of every training."""

    def learn(self, train: Clips, *given: Any, **named: Any) -> nn.Module:
        trained.append((train, self.steps))
        model: nn.Module = super().learn(train, *given, **named)
        return model


trained: list[tuple[Clips, int]] = []


def left(data: Clips, **given: Any) -> Clips:
    """The set of the last training."""
    trained.clear()
    plugin: Any = plugins.build("adaptations", "loss_filter", given)
    plugin.train(Watched(), data, data, Generator().manual_seed(0), log=silent_log)
    (_, brief), (rest, whole) = trained
    assert brief < whole == Linear().steps
    return rest


def marked(clips: int = 40, every: int = 4) -> tuple[Clips, set[str]]:
    """Weak tones in noise; every fourth pair of clips carries a loud mark of its class."""
    data = Tones(clips=clips).load("train")
    rng = Generator().manual_seed(3)
    faint = 0.02 * data.audio + 0.05 * torch.randn(data.audio.shape, generator=rng)
    assert data.labels is not None
    time = torch.arange(data.audio.shape[-1]) / data.rate
    mark = 0.3 * torch.sin(2 * torch.pi * torch.tensor([1500.0, 2500.0])[data.labels][:, None, None] * time)
    which = (torch.arange(clips) // 2) % every == 0
    ids = {name for name, is_marked in zip(data.ids, which.tolist(), strict=True) if is_marked}
    return data.with_audio((faint + mark * which[:, None, None]).clamp(-1, 1)), ids


def test_what_carries_a_mark_of_its_class_leaves() -> None:
    data, ids = marked()
    rest = left(data, share=0.25)
    assert set(data.ids) - set(rest.ids) == ids
    assert rest.epoch_items == len(data)


def test_the_other_side_drops_wrong_labels() -> None:
    data = Tones(clips=40).load("train")
    assert data.labels is not None
    wrong = data.labels.clone()
    wrong[:4] = 1 - wrong[:4]
    rest = left(replace(data, labels=wrong), share=0.1, side="high")
    assert rest.ids == data.ids[4:]


def test_nothing_leaves_at_share_zero_and_one_of_each_class_stays() -> None:
    data, _ = marked()
    assert left(data, share=0.0).ids == data.ids
    few = left(data, share=0.99)
    assert few.labels is not None
    assert sorted(few.labels.tolist()) == [0, 1]


@pytest.mark.parametrize("given", [{"share": 1.0}, {"share": -0.1}, {"early": 0.0}, {"early": 1.1}, {"side": "both"}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected|should be"):
        plugins.build("adaptations", "loss_filter", given)
