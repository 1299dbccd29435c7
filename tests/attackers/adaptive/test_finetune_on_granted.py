"""Fine-tuning on granted items: it corrects what published items taught wrongly, and never ends up worse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Generator, nn

from bench import plugins
from bench.api import Clips, Epoch

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


def build(**given: Any) -> Any:
    return plugins.build("adaptations", "finetune_on_granted", given)


def trained(adaptation: Any, published: Clips, granted: Clips, lines: list[Epoch] | None = None) -> nn.Module:
    """The model that the adaptation gives, for the linear attacker."""
    log = lines.append if lines is not None else lambda line: None
    choosing = Tones().load("validation")
    model: nn.Module = adaptation.train_with_granted(
        Linear(), published, granted, choosing, Generator().manual_seed(0), log=log
    )
    return model


def accuracy(model: nn.Module) -> float:
    return float(Linear().quality(model, Tones().load("test"))["accuracy"].mean())


@pytest.mark.parametrize("layers", ["last", "all"])
def test_wrong_labels_of_published_items_are_corrected_on_granted_ones(layers: str) -> None:
    """Two pitches are told apart by a line, so twelve right labels suffice; the wrong ones alone teach the opposite."""
    clean = Tones(clips=40).load("train")
    published = clean.select(range(28))
    assert published.labels is not None
    wrong = replace(published, labels=1 - published.labels)
    assert accuracy(Linear().learn(wrong, wrong, Generator().manual_seed(0))) < 0.2
    assert accuracy(trained(build(layers=layers, lr=0.05), wrong, clean.select(range(28, 40)))) > 0.8


def test_what_fine_tuning_makes_worse_is_not_kept() -> None:
    clean = Tones(clips=40).load("train")
    published, rest = clean.select(range(28)), clean.select(range(28, 40))
    assert rest.labels is not None
    harmful = replace(rest, labels=1 - rest.labels)
    assert accuracy(trained(build(lr=0.05), published, harmful)) > 0.8


def test_the_last_layer_alone_changes() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    from attackers.adaptive.finetune_on_granted import last_layer

    model = Two()
    assert [tuple(weight.shape) for weight in last_layer(model)] == [(2, 3), (2,)]
    model.head.requires_grad_(False)  # such as a frozen head behind adapters
    assert [tuple(weight.shape) for weight in last_layer(model)] == [(3, 4), (3,)]


def test_parameters_that_make_no_sense_are_refused() -> None:
    for given in ({"layers": "first"}, {"steps": 0}, {"lr": 0.0}, {"batch": 0}):
        with pytest.raises(Exception, match=r"expected|should be"):
            build(**given)
