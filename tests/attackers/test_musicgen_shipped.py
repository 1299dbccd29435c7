"""The tiny MusicGen that the repository ships, and the conditions under which a cell of MusicGen is valid."""

import json
from typing import Any

import pytest
import torch

from bench import plugins

pytest.importorskip("transformers", reason="the extra 'models' is not installed")

ATTACKER = plugins.load("attackers", "musicgen")
# The plugin's own modules; importable once the plugin is loaded.
from bench.attackers.musicgen import weights  # noqa: E402


def test_the_shipped_model_is_small_and_says_what_it_is() -> None:
    files = sorted(path.name for path in weights.TINY.iterdir())
    assert {"MODEL_CARD.md", "config.json", "model.safetensors"} <= set(files)
    assert sum(path.stat().st_size for path in weights.TINY.iterdir()) < 6e6
    config = json.loads((weights.TINY / "config.json").read_text())
    assert config["model_type"] == "musicgen"
    assert config["decoder"]["num_codebooks"] == 4


def test_the_shipped_model_is_read_once_and_every_copy_is_its_own() -> None:
    def load(seed: int) -> Any:
        return weights.load(weights.TINY, torch.Generator().manual_seed(seed))

    first, second = load(0), load(1)
    assert all(torch.equal(second.state_dict()[name], value) for name, value in first.state_dict().items())
    assert [p.requires_grad for p in first.parameters()] == [p.requires_grad for p in second.parameters()]
    with torch.no_grad():
        for weight in first.parameters():
            weight.zero_()
    again = load(0).state_dict()
    assert all(torch.equal(again[name], value) for name, value in second.state_dict().items())


def gates(clean: float, shuffled: float, worst: float = 4.0) -> dict[str, bool]:
    base = {"nll": -3.0, "nll_shuffled": -4.0, "nll_codebook_0": -2.0, "nll_codebook_1": -worst}
    after = {"nll": -3.0 + clean, "nll_shuffled": -4.0 + shuffled}
    return {gate.name: gate.passed for gate in ATTACKER().validity(after, base)}


def test_gates() -> None:
    assert all(gates(0.1, 0.2).values())
    assert all(gates(0.1, -0.5).values())
    assert gates(0.1, 0.7) == {
        "base predicts": True, "every codebook": True, "clean beats base": True, "order in time": False
    }  # fmt: skip
    assert not gates(-0.1, 0.0)["clean beats base"]
    assert not gates(0.1, 0.0, worst=6.0)["every codebook"]
