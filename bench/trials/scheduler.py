"""Decide which stages may run next; shared by the local and the Ray executor. Pure, single-threaded."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.trials.plan import Plan, Stage

MOST_ATTEMPTS = 3  # a stage whose worker died this often has failed


@dataclass(frozen=True)
class Outcome:
    """The result of a stage. `error` is None where its artefact is in the store."""

    key: str
    seconds: float
    error: dict[str, str] | None = None  # type, message, tail of the traceback
    bad_input: bool = False  # an error that the user can correct: missing data, a bad parameter


@dataclass(frozen=True)
class Event:
    """A change in a stage's state, reported by an executor to its caller."""

    kind: Literal["start", "progress", "done", "failed", "skipped", "lost"]
    stage: Stage
    text: str = ""
    outcome: Outcome | None = None


Watch = Callable[[Event], None]


class Stopped(Exception):
    """The user interrupted the run. Finished stages stay in the store; the rest is not done."""


class Scheduler:
    """Tracks waiting, runnable and running stages, and what each outcome allows next.

    The descendants of a failed stage are skipped; all other stages continue.
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
        heights = self._heights()
        # The critical path goes first: by the longest chain of descendants, then by the order of the plan.
        self._rank = {key: (-heights[key], position, key) for position, key in enumerate(self._waiting)}
        self._free = sorted(self._rank[key] for key, parents in self._waiting.items() if not parents)
        self._attempts: dict[str, int] = {}
        self.running: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}

    @property
    def open(self) -> bool:
        """Whether any stage is running or waiting."""
        return bool(self.running or self._waiting)

    @property
    def missing_parents(self) -> list[str]:
        """Keys that waiting stages need and that no stage here makes: the cause of a deadlock."""
        expected = self._waiting.keys() | self.running
        return sorted({parent for parents in self._waiting.values() for parent in parents if parent not in expected})

    @property
    def pending(self) -> int:
        """The number of stages that have not started."""
        return len(self._waiting)

    def ready(self, most: int | None = None) -> list[Stage]:
        """Return the stages that may start, those with the longest chain of descendants first.

        Args:
            most: How many at most; None for all.

        Returns:
            The stages.
        """
        free = self._free if most is None else self._free[: max(most, 0)]
        return [self._stages[key] for _, _, key in free]

    def start(self, stage: Stage) -> None:
        """Mark a stage as running.

        Args:
            stage: A stage that `ready` gave.
        """
        del self._waiting[stage.key]
        self._free.remove(self._rank[stage.key])
        self.running.add(stage.key)
        self._watch(Event("start", stage))

    def finish(self, outcome: Outcome) -> None:
        """Record the outcome of a stage, and free or skip its children.

        Args:
            outcome: The outcome.
        """
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

    def lose(self, stage: Stage, cause: str) -> None:
        """Queue a stage again whose worker died; fail it after `MOST_ATTEMPTS`.

        Args:
            stage: The stage.
            cause: How the worker died.
        """
        self._attempts[stage.key] = self._attempts.get(stage.key, 0) + 1
        if self._attempts[stage.key] >= MOST_ATTEMPTS:
            error = {"type": "WorkerLost", "message": f"{cause}, {MOST_ATTEMPTS} times", "tail": ""}
            self.finish(Outcome(stage.key, 0.0, error))
            return
        self.running.discard(stage.key)
        self._waiting[stage.key] = set()
        bisect.insort(self._free, self._rank[stage.key])
        self._watch(Event("lost", stage, text=cause))

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

    def _heights(self) -> dict[str, int]:
        """Return the length of the longest chain of descendants of each stage, itself included."""
        heights: dict[str, int] = {}
        for key in reversed(list(self._waiting)):  # a plan lists parents before children
            heights[key] = 1 + max((heights[child] for child in self._children.get(key, [])), default=0)
        return heights
