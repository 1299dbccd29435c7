"""Records of trials that never ran, for tests of what reads records, and the text of a small suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.results.record import PartRecord, TrialRecord
from bench.vocabulary import Control

PLUGINS = Path(__file__).resolve().parent / "plugins"


def suite_text(head: str, defenses: str, plugins: Path = PLUGINS) -> str:
    """Return the TOML of a suite of the linear attacker on the tones.

    Args:
        head: Its other keys.
        defenses: Its other tables.
        plugins: The folder of the data set and the attacker.
    """
    return f"""
{head}
datasets = ["tones"]
attackers = ["linear"]
[dataset.tones]
plugin = "{plugins / "tones.py"}"
[attacker.linear]
plugin = "{plugins / "linear.py"}"
{defenses}
"""


def part(label: str, *, version: int = 1, digest: str = "0" * 16, **params: Any) -> PartRecord:
    """Return a plugin as a record names it."""
    return PartRecord(name=label, label=label, version=version, digest=digest, overrides={}, params=params)


def trial(
    row: str,
    *,
    seed: int = 0,
    adaptation: str = "",
    attacker: str = "learner",
    control: str = "",
    defense: PartRecord | None = None,
) -> TrialRecord:
    """Return the trial of a row: on the dataset `songs`, white-box unless the row is the clean control.

    Args:
        row: Label of the defense, unless `defense` is given.
        seed: Seed of the trial.
        adaptation: Label of the adaptation; "" for none.
        attacker: Label of the attacker.
        control: "" for a defense, else "clean", "matched" or "scramble".
        defense: The defense, where its version or parameters matter.
    """
    return TrialRecord(
        dataset=part("songs"),
        defense=defense or part(row),
        knowledge="none" if control == "clean" else "white-box",
        surrogates=[],
        expects=[],
        reference=None,
        adaptation=part(adaptation) if adaptation else None,
        attacker=part(attacker),
        seed=seed,
        preset="small",
        control=Control(control),
    )
