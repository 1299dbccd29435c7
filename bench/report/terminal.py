"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import losses
from bench.results import table
from bench.trials.matrix import Suite
from bench.trials.record import Record

__all__ = ["missing", "tables"]


def tables(records: Sequence[Record], suite: Suite) -> str:
    """The ranking table, every response, the losses that moved, and the validity checks."""
    rows = table.rows(records, suite.budget)
    parts = [table.text(*table.main_table(rows))]
    if len({cell.response for row in rows for cell in row.cells}) > 1:
        title = "learning denied by every response (the clean row: what the response costs the attacker)"
        parts.append(f"{title}\n{table.text(*table.response_table(rows))}")
    moved = losses.moved_table(records)
    if moved[1]:
        title = "what moved: losses, lower is better learned (see the page for what each one is)"
        parts.append(f"{title}\n{table.text(*moved)}")
    gates = [
        [name, f"{value:.3f}", f"{limit:.3f}", "passed" if passed else "FAILED: its cells are void", meaning]
        for name, value, limit, passed, meaning in table.gates_of(records)
    ]
    if gates:
        parts.append(table.text(["gate", "worst seed", "limit", "", ""], gates, "plain"))
    return "\n\n".join(parts)


def missing(records: Sequence[Record]) -> list[str]:
    """One line for each trial that failed, and for each row that is void."""
    failed = [
        f"failed: {record.name}: {record.error['stage']}: {record.error['type']}: {record.error['message']}"
        for record in records
        if record.status != "ok" and record.error
    ]
    return failed + table.void_reasons(table.rows(records), records)
