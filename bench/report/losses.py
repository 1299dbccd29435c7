"""The losses of surrogates and attackers side by side: crafting, training and held-out.

A surrogate's loss falls during crafting because the surrogate is being trained: it also falls on clean data and under
fixed noise, so its fall alone says nothing about the noise. What the noise does to it is the difference between
protected and clean data on the same weights, which a defense may log beside the noise that it began with. Only the
attacker's loss on held-out clean data says whether anything was protected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.results.arms import Arm
from bench.results.formats import number
from bench.results.record import Record
from bench.results.statistics import mean

__all__ = ["MEANING", "losses_table"]

MEANING = (
    "Losses in the attacker's own unit, lower is better learned, means over seeds. *Surrogate loss*: that of the "
    "defender's models on the protected set, in the first and the last round of crafting; of several models the mean "
    "of their losses, each divided by its loss on clean data before crafting. These models are trained meanwhile, so "
    "the fall is not due to the noise alone: *noise held still*, where it is logged, is the last round of the same "
    "training with the noise that crafting began with. *Noise effect on the surrogate*: its loss on the protected set "
    "minus that on the clean one, on the same weights, after the last round. *Effect of random noise*: the same of "
    "the noise that crafting began with; the difference is what the optimisation did. 'Not optimised': no surrogate "
    "reads what could be optimised, so the noise is random within its bounds but for the regulariser. *Training "
    "loss*: that of the attacker at the end of its training, on clean data and on the protected set. *Held-out loss*: "
    "that of the attacker on clean data that nobody trained on; this one is scored. *Input changed*: the share of "
    "what the attacker reads of the training set that differs from the clean one."
)
_LAST = ("loss", "still_loss", "noise_effect", "start_effect")  # what a defense logs in the last round of crafting


def losses_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: a row for every defense, knowledge and attacker without adaptation.

    Args:
        records: The records of a suite.

    Returns:
        The table; without rows where no defense logged its surrogates.
    """
    bins: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        if record.status == "ok" and trial.adaptation is None and not trial.control.is_clean:
            bins[trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label].append(record)
    has_surrogates = any(record.crafting_log for group in bins.values() for record in group)
    body = [[*key, *_cells(group)] for key, group in bins.items()] if has_surrogates else []
    return [
        "data set", "defense", "knowledge", "attacker", "surrogate loss, first round", "surrogate loss, last round",
        "surrogate loss, noise held still", "noise effect on the surrogate", "effect of random noise",
        "training loss, clean", "training loss, protected", "held-out loss, clean", "held-out loss, protected",
        "input changed",
    ], body  # fmt: skip


def _cells(records: Sequence[Record]) -> list[str]:
    """Format the means of all loss columns over the seeds of a cell."""
    logs = [record.crafting_log for record in records if record.crafting_log]
    first, last = ([lines[at] for lines in logs] for at in (0, -1))
    training = [[_last(record, arm) for record in records] for arm in (Arm.CLEAN, Arm.PROTECTED)]
    held_out = [[-record.mean(arm) for record in records] for arm in (Arm.CLEAN, Arm.PROTECTED)]
    input_changes = [value for record in records for value in record.input_change]
    surrogate = [[line.get("loss") for line in first], *([line.get(key) for line in last] for key in _LAST)]
    columns: list[Sequence[float | None]] = [*surrogate, *training, *held_out, input_changes]
    cells = [number(mean(values), ".3f") for values in columns]
    if any(line.get("optimised") == 0 for line in last):
        cells[1 + _LAST.index("noise_effect")] += " (not optimised)"
    return cells


def _last(record: Record, arm: str) -> float | None:
    """Return the training loss at the end of an arm's training; None where none was logged."""
    losses = [line["loss"] for line in record.epochs.get(arm, []) if line.get("loss") is not None]
    return losses[-1] if losses else None
