"""The weights that ship with SymphonyNet: they know songs, fit other tracks and measures, and learn tunes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.errors import DataError, UsageError
from tests.attackers.examples import rng, rolls

ATTACKER: Any = plugins.load("attackers", "symphonynet")
# The plugin's own modules; importable once the plugin is loaded.
from bench.attackers.symphonynet import LEAST_BY_ORDER, encoding, pretrain, weights  # noqa: E402

pytestmark = pytest.mark.numeric


def composers(split: str, items: int, artist: str) -> Rolls:
    pytest.importorskip("muspy")
    sizes = dict.fromkeys(("rolls", "validation_rolls", "test_rolls"), items)
    given = {"domain": "midi", "artist": (artist,), **sizes}
    found: Rolls = plugins.build("datasets", "composers", given, "smoke").load(split)
    return found


def test_the_shipped_weights_are_small_and_say_what_they_are() -> None:
    assert sorted(path.name for path in weights.SONGS.iterdir()) == ["MODEL_CARD.md", "model.safetensors"]
    assert sum(path.stat().st_size for path in weights.SONGS.iterdir()) < 1e6


def test_every_shipped_weight_is_loaded_and_nothing_else() -> None:
    data = rolls()
    shipped, network = weights._shipped(), ATTACKER().model(data, rng())
    assert network.state_dict().keys() - shipped.keys() == {"merges"}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in shipped.items() if name != "merges")
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    again = ATTACKER().model(data, rng()).state_dict()
    assert all(torch.equal(again[name], value) for name, value in shipped.items() if name != "merges")


def test_tables_of_another_size_share_the_rows_that_mean_the_same() -> None:
    """Five tracks, measures of twelve steps, and eight merged pitches."""
    data = rolls()
    velocity, onset = (torch.cat([part, part[:, :1]], 1) for part in (data.velocity, data.onset))
    waltz = replace(data, velocity=velocity, onset=onset, programs=(*data.programs, 0), beats_per_bar=3, tracks=())
    shipped = weights._shipped()
    own = ATTACKER(merges=8).model(waltz, rng()).state_dict()
    event, head = own["read.event.weight"], own["heads.event.bias"]
    assert event.shape[0] == 1 + 12 + encoding.PITCHES + 8
    assert torch.equal(event[:13], shipped["read.event.weight"][:13])
    assert torch.equal(event[13 : 13 + 128], shipped["read.event.weight"][17:])
    assert torch.equal(head[13 : 13 + 128], shipped["heads.event.bias"][17:])
    assert torch.equal(own["read.track.weight"][:4], shipped["read.track.weight"])
    assert torch.equal(own["positions.position.weight"], shipped["positions.position.weight"][:12])
    assert torch.equal(own["read.duration.weight"], shipped["read.duration.weight"])


def test_an_installation_without_them_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(weights, "SONGS", tmp_path)
    weights._shipped.cache_clear()
    try:
        with pytest.raises(DataError, match=r"symphonynet: no .*model\.safetensors: the installation"):
            ATTACKER().model(rolls(), rng())
    finally:
        weights._shipped.cache_clear()


@pytest.mark.parametrize("given", [{"size": "tiny"}, {"encoding": "octuple"}])
def test_another_architecture_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="set pretrained = false, steps = 300, lr = 3e-3"):
        plugins.build("attackers", "symphonynet", given)


def test_songs_of_no_other_split_are_predicted() -> None:
    """Frequencies alone need 8.1 nats a note; the model card says 2.44, and 3.42 for the notes at permuted times."""
    songs = composers("test", 60, "essen")
    net = ATTACKER()
    quality = net.quality(net.model(songs, rng()), songs)
    assert float(quality["nll"].mean()) > -2.9
    assert float((quality["nll"] - quality["nll_shuffled"]).mean()) > 0.7


def test_the_untrained_arm_is_the_pretrained_model() -> None:
    data, net = rolls(), ATTACKER()
    model = net.model(data, rng())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    net.prior(model, data)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_tunes_teach_more_than_their_notes_at_other_times() -> None:
    """Over four sets of 24 tunes these gain .11 to .29 nats, shuffled in time -.06 to 0; this is the first set."""
    train, choosing, test = (
        composers("train", 24, "ryan"),
        composers("validation", 8, "ryan"),
        composers("test", 24, "ryan"),
    )
    net = ATTACKER(steps=80, evaluations=2)
    base = net.quality(net.model(train, rng()), test)
    gains = []
    for given in (train, encoding.shuffled(train)):
        learned = net.quality(net.learn(given, choosing, rng()), test)
        gains.append(float((learned["nll"] - base["nll"]).mean()))
        if given is train:
            means = [{name: float(values.mean()) for name, values in quality.items()} for quality in (learned, base)]
            assert all(check.passed for check in net.validity(*means))
    assert gains[0] > 0.1
    assert gains[1] < gains[0] / 3


def test_checks() -> None:
    base = {"nll": -3.0, "nll_shuffled": -9.0}

    def passed(nll: float, shuffled: float) -> list[bool]:
        return [check.passed for check in ATTACKER().validity({"nll": nll, "nll_shuffled": shuffled}, base)]

    assert passed(-2.5, -9.0) == [True, True]
    assert passed(-3.1, -9.0) == [False, True]
    assert passed(-2.5, -2.5 - LEAST_BY_ORDER) == [True, False]


def test_pretraining_is_taken_up_where_it_stopped(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = composers("train", 12, "essen")
    monkeypatch.setattr(pretrain, "_songs", lambda split: songs)
    monkeypatch.setattr(pretrain, "HELD_OUT", 4)
    written = []
    for name, totals in (("whole", ["3"]), ("halves", ["2", "3"])):
        for total in totals:
            given = ["--out", str(tmp_path / name), "--work", str(tmp_path / f"{name}-work"), "--steps", total]
            pretrain.main([*given, "--batch", "2"])
        written.append((tmp_path / name / "model.safetensors").read_bytes())
    assert written[0] == written[1]
    assert '"held_out_nll": -' in capsys.readouterr().out
