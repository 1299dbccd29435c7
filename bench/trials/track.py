"""Run a track: choose a response for every row and every size of the clean curve, then evaluate what was chosen.

A row is a defense, control or matched control on a data set. Its protected set is one training set, and so is each size
of the clean curve, which belongs to the clean control. Attackers whose qualities share a scale are chosen among
together, others by themselves. Test items are read for the chosen response of each seed alone.

The record of a row and seed is that of its chosen response. Its clean arms and its clean curve are those of the clean
control's record, which may be one that comes with the track where its stages are the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import UsageError
from bench.results.arms import Arm, curve_role, granted_role, memorised_role
from bench.results.names import NONE, attacker_of, response_name
from bench.results.record import SCHEMA, AttemptRecord, CheckRecord, Record
from bench.results.suite import Round
from bench.trials import recording
from bench.trials.plan import Cell, plan_roles
from bench.trials.selection import Attempt, Choice, Contest, Perform, Report, choose
from bench.trials.store import Store
from bench.trials.trial import Trial

__all__ = ["evaluate", "outline", "run"]

# The stages of a chosen response that its record names.
_OWN = (
    "clean_set", "test_set", "protected_set", "audit", "mixed_set", "protected_learned", "protected",
    "protected_granted", "untrained", "view", "protected_memorised",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of a track, against the attackers that share a scale.

    Attributes:
        trials: response -> its trial at the first seed, in the order of the battery.
    """

    trials: Mapping[str, Trial]

    @property
    def first(self) -> Trial:
        """The trial of its first response."""
        return next(iter(self.trials.values()))

    @property
    def title(self) -> str:
        """What messages call it."""
        first = self.first
        return f"{first.row} on {first.dataset.title}" + (
            "" if _is_shared(first) else f" against {first.attacker.title}"
        )

    @property
    def is_clean(self) -> bool:
        """Whether it is the clean control, to which the clean curve belongs."""
        return self.first.defense.control.is_clean

    @property
    def against(self) -> tuple[str, str]:
        """The data set and the attackers: the rows of one clean control."""
        return self.first.dataset.title, _scale(self.first)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the clean curve below n."""
        threat = self.first.threat
        assert threat is not None
        return threat.smaller

    def contests(self) -> list[Contest]:
        """The training sets for which it asks for a response."""
        roles = [*(map(curve_role, self.sizes) if self.is_clean else ()), str(Arm.PROTECTED)]
        size = {curve_role(size): f"{size} items of {self.title}" for size in self.sizes}
        return [Contest(size.get(role, self.title), role, self.trials) for role in roles]

    def at(self, response: str, seed: int) -> Trial:
        """The trial of a response at a seed."""
        return replace(self.trials[response], seed=seed)


def run(
    trials: Iterable[Trial],
    seeds: Sequence[int],
    rounds: Sequence[Round],
    store: Store,
    perform: Perform,
    report: Report = lambda line: None,
    command: str = "",
    clean_records: Iterable[Record] = (),
) -> list[Record]:
    """Run the rows of a track.

    Args:
        trials: of every row and response at the first seed.
        seeds: all seeds.
        rounds: of successive halving.
        store: holds the stages that are done.
        perform: does the others of a plan.
        report: called with lines on what goes on and what was chosen.
        command: the command line, for the records.
        clean_records: of the clean control, which are taken as they are where all their stages are the same here.

    Returns:
        A record for each row and seed.

    Raises:
        UsageError: a row has no clean control, no threat model, or another protected set for each attacker.
    """
    rows = _rows(trials)
    _check(rows)
    known = {row.against: _matching(row, seeds, clean_records) for row in rows if row.is_clean}
    due = [row for row in rows if not (row.is_clean and len(known[row.against]) == len(seeds))]
    contests = [(row, contest) for row in due for contest in row.contests()]
    choices = choose([contest for _, contest in contests], rounds, seeds, store, perform, report)
    chosen = {(id(row), contest.role): choice for (row, contest), choice in zip(contests, choices, strict=True)}
    records = _Records(store, perform, chosen, command)
    for row in sorted(due, key=lambda row: not row.is_clean):
        records.request(row, seeds)
    records.perform()
    for row in sorted(due, key=lambda row: not row.is_clean):
        for seed in seeds:
            record = records.of(row, seed, known[row.against].get(seed))
            if row.is_clean and record.status == "ok":
                known[row.against][seed] = record
    return [*records.made]


def outline(trials: Iterable[Trial], seeds: Sequence[int], rounds: Sequence[Round]) -> list[str]:
    """Return lines on how many trainings a track takes, at most.

    Args:
        trials: of every row and response at the first seed.
        seeds: all seeds.
        rounds: of successive halving.
    """
    rows = _rows(trials)
    left = [len(contest.trials) for row in rows for contest in row.contests()]
    attackers = [len({attacker_of(name) for name in contest.trials}) for row in rows for contest in row.contests()]
    lines = [f"{len(rows)} rows, {max(left, default=0)} responses, {len(seeds)} seeds; {len(left)} training sets"]
    for number, each in enumerate(rounds, start=1):
        lines.append(f"round {number}: {sum(left):,} trainings at {each.effort:.0%} of the effort, one seed")
        left = [min(count, each.keep + each.each * of) for count, of in zip(left, attackers, strict=True)]
    lines.append(f"at every seed: at most {sum(left) * len(seeds):,} trainings")
    return lines


def evaluate(
    trials: Mapping[str, Trial],
    choice: Choice,
    seeds: Sequence[int],
    store: Store,
    perform: Perform,
    command: str,
    clean: Mapping[int, Record],
) -> list[Record]:
    """Evaluate responses that were chosen on one protected set.

    Args:
        trials: response -> its trial at the first seed.
        choice: the responses.
        seeds: those of the choice.
        store: holds the stages that are done.
        perform: does the others of a plan.
        command: the command line, for the records.
        clean: seed -> the record of the clean control.

    Returns:
        A record for each seed.
    """
    row = Row(trials)
    records = _Records(store, perform, {(id(row), str(Arm.PROTECTED)): choice}, command)
    records.request(row, seeds)
    records.perform()
    return [records.of(row, seed, clean.get(seed)) for seed in seeds]


def _rows(trials: Iterable[Trial]) -> list[Row]:
    """Group trials by row, knowledge and scale."""
    grouped: dict[tuple[str, ...], dict[str, Trial]] = defaultdict(dict)
    for trial in trials:
        adaptation = trial.adaptation.title if trial.adaptation else NONE
        key = (trial.dataset.title, trial.row, trial.knowledge, _scale(trial))
        grouped[key][response_name(trial.attacker.title, adaptation)] = trial
    return [Row(responses) for responses in grouped.values()]


def _is_shared(trial: Trial) -> bool:
    """Whether its attacker's quality is an accuracy, on which models of different attackers can be compared."""
    return trial.attacker.traits.get("task") == "classify"


def _scale(trial: Trial) -> str:
    """The attackers that are chosen among: all that classify, or one alone."""
    return "classify" if _is_shared(trial) else trial.attacker.title


def _check(rows: Sequence[Row]) -> None:
    """Raise `UsageError` for a row that cannot stand in a track."""
    with_control = {row.against for row in rows if row.is_clean}
    for row in rows:
        if row.first.threat is None:
            raise UsageError(f"a track needs a threat model: give [threat] `published` and `granted` for {row.title}")
        if row.against not in with_control:
            raise UsageError(f"{row.title}: no clean control is in the track, expected `clean` among its defenses")
        known = {tuple(part.title for part in trial.surrogates) for trial in row.trials.values()}
        if len(known) > 1:
            raise UsageError(
                f"{row.title}: knowledge '{row.first.knowledge}' makes a protected set for each attacker, but a track "
                "publishes one: expected 'ensemble' or 'none'"
            )


def _matching(row: Row, seeds: Sequence[int], records: Iterable[Record]) -> dict[int, Record]:
    """The given records of a clean control whose stages are those that would be done here, by seed."""
    matching = {}
    for record in records:
        seed, tried = record.trial.seed, {role: _best(entries) for role, entries in record.attempts.items()}
        roles = {contest.role for contest in row.contests()}
        if seed not in seeds or record.status != "ok" or tried.keys() != roles:
            continue
        if not record.trial.control.is_clean or not {*record.tried, *tried.values()} <= row.trials.keys():
            continue
        cells = plan_roles((row.at(response, seed), _evaluated(role)) for role, response in tried.items()).cells
        expected = {role: key for cell in cells for role, key in cell.keys.items()}
        if all(record.stages.get(role) == key for role, key in expected.items()):
            matching[seed] = record
    first = matching.get(seeds[0])
    if first is None or {*first.tried} != row.trials.keys():
        return {}
    return matching


def _best(attempts: Sequence[AttemptRecord]) -> str:
    """The response that was chosen among some that were tried."""
    whole = [each for each in attempts if each.effort == 1 and each.granted is not None]
    return max(whole, key=lambda each: each.granted or 0.0).response if whole else ""


def _evaluated(role: str) -> tuple[str, ...]:
    """The stages of a chosen response on a clean size."""
    memorised = [memorised_role(role)] if role == curve_role(0) else []
    return (f"{role}_learned", role, granted_role(role), *memorised)


class _Records:
    """Evaluates the chosen responses on the test items and builds records."""

    def __init__(self, store: Store, perform: Perform, chosen: Mapping[tuple[int, str], Choice], command: str):
        self._store, self._perform, self._chosen, self._command = store, perform, chosen, command
        self._requests: list[tuple[Trial, tuple[str, ...]]] = []
        self._places: dict[tuple[int, int, str], int] = {}  # row, seed, role -> request
        self.made: list[Record] = []

    def request(self, row: Row, seeds: Sequence[int]) -> None:
        """Ask for the stages of a row."""
        for contest in row.contests():
            for seed, response in self._chosen[id(row), contest.role].chosen.items():
                trial = row.at(response, seed)
                self._add(
                    row, seed, contest.role, trial, _OWN if contest.role == Arm.PROTECTED else _evaluated(contest.role)
                )
                if row.is_clean and contest.role == Arm.PROTECTED and "validity" in trial.attacker.hooks:
                    self._add(row, seed, Arm.CLEAN, trial, (str(Arm.CLEAN),))

    def _add(self, row: Row, seed: int, role: str, trial: Trial, roles: tuple[str, ...]) -> None:
        self._places[id(row), seed, role] = len(self._requests)
        self._requests.append((trial, roles))

    def perform(self) -> None:
        """Do what was asked for."""
        planned = plan_roles(self._requests)
        self._cells, self._stages = planned.cells, planned.stages
        self._outcomes = self._perform(planned)

    def of(self, row: Row, seed: int, clean: Record | None) -> Record:
        """Build the record of a row and seed, beside that of the clean control."""
        roles = [contest.role for contest in row.contests()]
        record = self._failure(row, seed, roles)
        if record is None and row.is_clean:
            record = self._clean(row, seed, roles)
        elif record is None and clean is None:
            error = {"type": "DataError", "message": f"the clean control has no result with seed {seed}", "tail": ""}
            cell = self._cell(row, seed, Arm.PROTECTED)
            record = recording.failure_of(cell, {"stage": "clean", **error}, self._command)
        elif record is None:
            record = recording.record_of(self._cell(row, seed, Arm.PROTECTED), self._store, self._command, clean)
        if record.status == "ok":
            record = record.model_copy(update={"attempts": self._attempts(row, seed, roles), "schema_version": SCHEMA})
        self.made.append(record)
        return record

    def _clean(self, row: Row, seed: int, roles: Sequence[str]) -> Record:
        """The record of the clean control: its arms are those of the responses chosen at each size."""
        own = self._cell(row, seed, Arm.PROTECTED)
        arms = [Arm.CLEAN, *([Arm.CLEAN_ADAPTED] if own.trial.adaptation else [])]
        keys = dict(own.keys)
        for arm in arms:
            for role, key in own.keys.items():
                if role in _evaluated(Arm.PROTECTED):
                    keys[role.replace(Arm.PROTECTED, arm, 1)] = key
        if memorised_role(Arm.PROTECTED) in keys:
            keys[memorised_role(Arm.CLEAN)] = keys[memorised_role(Arm.PROTECTED)]
        for role in roles:
            keys |= {} if role == Arm.PROTECTED else self._cell(row, seed, role).keys
        record = recording.record_of(Cell(own.trial, keys), self._store, self._command)
        if (id(row), seed, Arm.CLEAN) in self._places:
            checked = self._store.json(self._cell(row, seed, Arm.CLEAN).keys[Arm.CLEAN], "quality.json")
            checks = [CheckRecord.model_validate(check) for check in checked.get("gates", [])]
            record = record.model_copy(update={"attacker_checks": checks})
        return record

    def _cell(self, row: Row, seed: int, role: str) -> Cell:
        return self._cells[self._places[id(row), seed, str(role)]]

    def _failure(self, row: Row, seed: int, roles: Sequence[str]) -> Record | None:
        """The record of a row in which something failed that its record needs; None where nothing did."""
        for role in roles:
            choice = self._chosen[id(row), role]
            if seed not in choice.chosen:
                error = next(iter(choice.errors.values()))
                return recording.failure_of(Cell(replace(row.first, seed=seed), {}), error, self._command)
            for key in self._cell(row, seed, role).keys.values():
                failed = self._outcomes.get(key)
                if failed and failed.error:
                    error = {"stage": self._stages[key].title, **failed.error}
                    return recording.failure_of(self._cell(row, seed, role), error, self._command)
        return None

    def _attempts(self, row: Row, seed: int, roles: Sequence[str]) -> dict[str, list[AttemptRecord]]:
        """What was tried with a seed on each training set."""
        return {
            role: [_recorded(each) for each in self._chosen[id(row), role].attempts if each.seed == seed]
            for role in roles
        }


def _recorded(attempt: Attempt) -> AttemptRecord:
    """An attempt as records hold it: with all digits by which it was compared."""
    granted = None if math.isnan(attempt.granted) else float(f"{attempt.granted:.9g}")
    return AttemptRecord(
        response=attempt.response, effort=attempt.effort, granted=granted, cpu_seconds=round(attempt.cpu_seconds, 3)
    )
