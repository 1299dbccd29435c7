"""Three losses that must not be confused: the surrogate's, the attacker's on its own set and on held-out data.

A surrogate's loss falls while noise is made because the surrogate is being trained: it falls on clean data and under
noise that is held still, so its fall alone says nothing of the noise. Only the third loss, on clean data that nobody
trained on, says whether anything was protected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.results.arms import Arm
from bench.results.formats import number
from bench.results.record import Record
from bench.results.statistics import mean

__all__ = ["MEANING", "moved_table"]

MEANING = (
    "Losses in the attacker's own unit, lower is better learned, means over seeds. *Surrogate*: the defender's models "
    "on the protected set, in the first and the last round of crafting; they are trained meanwhile, so the fall is not "
    "the noise's alone. *On its own set*: the attacker's training loss "
    "at the end, on clean data and on the protected set. *Held out*: what is scored, on clean data that nobody trained "
    "on. *Input changed*: the share of what the attacker reads of the set that is not as in the clean one."
)


def moved_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, a row a defense, knowledge and attacker, without adaptation.

    Empty where no defense told of its surrogates: then there is nothing to set side by side.
    """
    bins: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        if record.status == "ok" and trial.adaptation is None and not trial.control.is_clean:
            bins[trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label].append(record)
    has_surrogates = any(record.crafting_log for group in bins.values() for record in group)
    body = (
        [[*key, *(number(value, ".3f") for value in _losses(group))] for key, group in bins.items()]
        if has_surrogates
        else []
    )
    return [
        "data set", "defense", "knowledge", "attacker", "surrogate, first", "surrogate, last", "on its own set, clean",
        "on its own set, protected", "held out, clean", "held out, protected", "input changed",
    ], body  # fmt: skip


def _losses(records: Sequence[Record]) -> list[float]:
    logs = [record.crafting_log for record in records if record.crafting_log]
    surrogate = [[lines[at].get("loss") for lines in logs] for at in (0, -1)]
    training = [[_last(record, arm) for record in records] for arm in (Arm.CLEAN, Arm.PROTECTED)]
    held_out = [[-record.mean(arm) for record in records] for arm in (Arm.CLEAN, Arm.PROTECTED)]
    input_changes = [value for record in records for value in record.input_change]
    columns: list[Sequence[float | None]] = [*surrogate, *training, *held_out, input_changes]
    return [mean(values) for values in columns]


def _last(record: Record, arm: str) -> float | None:
    """The training loss that an arm ended with."""
    losses = [line["loss"] for line in record.epochs.get(arm, []) if line.get("loss") is not None]
    return losses[-1] if losses else None
