"""The tiny MusicGen that the repository ships, and the conditions under which a cell of MusicGen is valid."""

import json

import pytest

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


def gates(clean: float, shuffled: float, worst: float = 4.0) -> dict[str, bool]:
    base = {"nll": -3.0, "nll_shuffled": -4.0, "nll_codebook_0": -2.0, "nll_codebook_1": -worst}
    after = {"nll": -3.0 + clean, "nll_shuffled": -4.0 + shuffled}
    return {gate.name: gate.passed for gate in ATTACKER().validity(after, base)}


def test_gates() -> None:
    assert all(gates(0.1, 0.02).values())
    assert all(gates(0.1, -0.5).values())
    assert gates(0.1, 0.05) == {
        "base predicts": True, "every codebook": True, "clean beats base": True, "structure": False
    }  # fmt: skip
    assert not gates(-0.1, 0.0)["clean beats base"]
    assert not gates(-0.1, -0.2)["structure"]
    assert not gates(0.1, 0.0, worst=6.0)["every codebook"]
