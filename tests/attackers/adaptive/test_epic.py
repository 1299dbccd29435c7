"""EPIc: medoids without neighbours leave; clusters stay."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from attackers.adaptive.epic import isolated
from bench import plugins
from bench.api import Clips, silent_log
from bench.errors import UsageError

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


def left(data: Clips, **given: Any) -> Clips:
    """The set of the last training."""
    trained.clear()
    plugin: Any = plugins.build("adaptations", "epic", given)
    plugin.train(Watched(), data, data, Generator().manual_seed(0), log=silent_log)
    _, rest = trained
    return rest


def poisoned(clips: int = 40, poisons: int = 3) -> Clips:
    """Tones, of which the last ones have the sound of the other class beneath one of their own."""
    data: Clips = Tones(clips=clips).load("train")
    audio, time = data.audio.clone(), torch.arange(data.audio.shape[-1]) / data.rate
    for number in range(poisons):
        other = 0.4 * audio[number] + 0.4 * torch.sin(2 * torch.pi * (1500 + 800 * number) * time)
        audio[clips - poisons + number] = other
    return data.with_audio(audio.clamp(-1, 1))


def test_a_point_alone_is_isolated_and_clusters_are_not() -> None:
    rng = Generator().manual_seed(0)
    rows = torch.cat(
        [torch.randn(10, 2, generator=rng) * 0.1 + at for at in (0.0, 5.0)] + [torch.tensor([[50.0, 0.0]])]
    )
    medoid, distance = isolated(rows.double(), 3)
    assert medoid.tolist() == [20]
    assert float(distance) == pytest.approx(45.0, abs=1.0)


def test_a_single_row_and_no_medoid_are_no_isolation() -> None:
    assert isolated(torch.zeros(1, 2, dtype=torch.float64), 1)[0].tolist() == []
    assert isolated(torch.zeros(4, 2, dtype=torch.float64), 0)[0].tolist() == []


def test_poisons_without_neighbours_leave() -> None:
    data = poisoned()
    rest = left(data)
    assert not {*data.ids[-3:]} & {*rest.ids}
    assert len(rest) >= 32  # a fifth at most
    assert rest.epoch_items == len(data)


def test_a_smaller_share_drops_the_most_isolated_only() -> None:
    data = poisoned()
    assert len(left(data, share=0.05)) == 38
    assert {*data.ids} - {*left(data, share=0.05).ids} <= {*data.ids[-3:]}
    assert left(data, share=0.0).ids == data.ids
    assert left(data, medoids=0.0).ids == data.ids


@pytest.mark.parametrize("given", [{"share": 1.0}, {"medoids": 1.5}, {"rounds": 0}, {"directions": 0}, {"early": 0.0}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "epic", given)
