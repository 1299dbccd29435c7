"""Which stages may run next: the bookkeeping that the local and the cluster executor share. Pure, single-threaded."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.trials.plan import Plan, Stage

MOST_ATTEMPTS = 3  # how often a stage may lose its worker before it counts as failed


@dataclass(frozen=True)
class Outcome:
    """How a stage ended. `error` is None where its artefact is in the store."""

    key: str
    seconds: float
    error: dict[str, str] | None = None  # type, message, tail of the traceback
    bad_input: bool = False  # the user can mend it: missing data, a parameter that makes no sense


@dataclass(frozen=True)
class Event:
    """What an executor tells whoever runs it."""

    kind: Literal["start", "progress", "done", "failed", "skipped", "lost"]
    stage: Stage
    text: str = ""
    outcome: Outcome | None = None


Watch = Callable[[Event], None]


class Stopped(Exception):
    """The user asked to stop: what is in the store stays, the rest is not done."""


class Scheduler:
    """Stages that remain, those that may run, and what follows from each end.

    A failed stage's descendants are skipped; everything else goes on.
    """

    def __init__(self, plan: Plan, present: Iterable[str], watch: Watch):
        done = set(present)
        self._stages: Mapping[str, Stage] = plan.stages
        self._watch = watch
        self._waiting = {
            key: {parent for parent in stage.parents.values() if parent not in done}
            for key, stage in plan.stages.items()
            if key not in done
        }
        self._children: dict[str, list[str]] = {}
        for key, parents in self._waiting.items():
            for parent in parents:
                self._children.setdefault(parent, []).append(key)
        heights = self._measured()
        # The critical path goes first: stages sort by how many hang below them, then by their place in the plan.
        self._rank = {key: (-heights[key], position, key) for position, key in enumerate(self._waiting)}
        self._free = sorted(self._rank[key] for key, parents in self._waiting.items() if not parents)
        self._attempts: dict[str, int] = {}
        self.running: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}

    @property
    def open(self) -> bool:
        """Whether anything is running or can still run."""
        return bool(self.running or self._waiting)

    @property
    def missing_parents(self) -> list[str]:
        """The keys that stages still wait for and that nothing here will make: what a deadlock is about."""
        expected = self._waiting.keys() | self.running
        return sorted({parent for parents in self._waiting.values() for parent in parents if parent not in expected})

    @property
    def pending(self) -> int:
        """How many stages have not begun."""
        return len(self._waiting)

    def ready(self, most: int | None = None) -> list[Stage]:
        """The stages that may start now, those with the longest work behind them first; no more than `most`."""
        free = self._free if most is None else self._free[: max(most, 0)]
        return [self._stages[key] for _, _, key in free]

    def start(self, stage: Stage) -> None:
        del self._waiting[stage.key]
        self._free.remove(self._rank[stage.key])
        self.running.add(stage.key)
        self._watch(Event("start", stage))

    def finish(self, outcome: Outcome) -> None:
        """A stage ended, well or not."""
        stage = self._stages[outcome.key]
        self.running.discard(outcome.key)
        self.outcomes[outcome.key] = outcome
        children = self._children.pop(outcome.key, [])
        if outcome.error is None:
            for child in children:
                if child in self._waiting:
                    self._waiting[child].discard(outcome.key)
                    if not self._waiting[child]:
                        bisect.insort(self._free, self._rank[child])
            self._watch(Event("done", stage, outcome=outcome))
            return
        self._watch(
            Event("failed", stage, text=f"{outcome.error['type']}: {outcome.error['message']}", outcome=outcome)
        )
        for child in children:
            self._skip(child, outcome)

    def lose(self, stage: Stage, why: str) -> None:
        """The stage's worker died: it runs again, but not for ever."""
        self._attempts[stage.key] = self._attempts.get(stage.key, 0) + 1
        if self._attempts[stage.key] >= MOST_ATTEMPTS:
            error = {"type": "WorkerLost", "message": f"{why}, {MOST_ATTEMPTS} times", "tail": ""}
            self.finish(Outcome(stage.key, 0.0, error))
            return
        self.running.discard(stage.key)
        self._waiting[stage.key] = set()
        bisect.insort(self._free, self._rank[stage.key])
        self._watch(Event("lost", stage, text=why))

    def _skip(self, key: str, cause: Outcome) -> None:
        if key not in self._waiting:
            return
        del self._waiting[key]
        stage = self._stages[key]
        assert cause.error is not None
        error = {**cause.error, "stage": self._stages[cause.key].title}
        self.outcomes[key] = Outcome(key, 0.0, error, cause.bad_input)
        self._watch(Event("skipped", stage, text=f"because '{error['stage']}' failed"))
        for child in self._children.pop(key, []):
            self._skip(child, cause)

    def _measured(self) -> dict[str, int]:
        """How many stages hang below each one, in its longest line."""
        heights: dict[str, int] = {}
        for key in reversed(list(self._waiting)):  # children come after their parents in a plan
            heights[key] = 1 + max((heights[child] for child in self._children.get(key, [])), default=0)
        return heights
