"""`bench attack`: search for a response that beats a track's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bench.commands.options import Execution, Many, Sets
from bench.exits import OK
from bench.vocabulary import Preset

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.results.worths import RowWorth
    from bench.trials.searching import Candidate

app = App(
    name="attack",
    help_epilogue=(
        "Examples:\n"
        "  bench attack --defense tones --track speech --budget 100\n"
        "  bench attack --defense my_defense.py --track speech --budget 20 --links 3 --out found.toml\n"
    ),
)


def _at_least_one(type_: object, value: int) -> None:
    """Refuse numbers below one."""
    if value < 1:
        raise ValueError("expected 1 or more")


@app.default
def attack(
    *,
    defense: str,
    track: str,
    budget: Annotated[int, Parameter(validator=_at_least_one)] = 50,
    links: Annotated[int, Parameter(validator=_at_least_one)] = 2,
    attacker: Many = None,
    adapt: Many = None,
    preset: Preset | None = None,
    set_: Sets = None,
    out: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Search chains of adaptations and their strengths for what undoes a defense better than a track's own responses.

    Every proposal is judged by the granted items of the first seed. The best three are trained at every seed, and of
    each seed the best by the granted items is evaluated on the test items, beside what the track's attacker chose.

    Parameters
    ----------
    defense
        Defense to attack: a name in the track, a name or a file.
    track
        Track (speech, or a TOML file), whose data set, attackers, seeds and adaptations are used.
    budget
        Number of responses that are tried.
    links
        Number of adaptations that a chain has at most.
    attacker
        Attacker of the track to search with; default: all that share a scale. Repeatable.
    adapt
        Adaptation to search among beside those of the track: a name. Repeatable.
    preset
        Size of the track, in place of its own.
    set_
        Parameter of the defense, as NAME.KEY=VALUE. Repeatable.
    out
        File for the found responses, as lines for a track's TOML file; default: print them.
    """
    from bench.commands.display import say
    from bench.commands.execution import command_line, stopped
    from bench.commands.settings import parse_settings
    from bench.commands.tracks import committed, performer, track_file, track_records, with_defenses
    from bench.errors import DataError
    from bench.files import check_output, replacing
    from bench.results.formats import text_table
    from bench.results.suite import read
    from bench.trials import attacking
    from bench.trials.scheduler import Stopped
    from bench.trials.searching import require
    from bench.trials.store import Store, default_url

    require()
    if out is not None:
        check_output(out, force=True)
    file = track_file(track)
    whole = read(file, preset or "")
    parameters = parse_settings(set_ or [], {"defense": [defense]}).get("defense", {})
    suite = with_defenses(whole, [defense], parameters)
    (row,) = suite.defenses[1:] or suite.defenses
    searched = suite.model_copy(update={"attackers": attacker or suite.attackers})
    space = attacking.space_of(searched, links, adapt or [])
    store = Store(execution.store or default_url())
    perform = performer(store, execution)
    try:
        say(f"first what the track's own attacker chooses against {defense}")
        given = committed(file, whole.preset)
        own = track_records(suite, execution, store, given)
        clean = {each.trial.seed: each for each in (*given, *own) if each.trial.control.is_clean}
        if not set(suite.seeds) <= clean.keys():
            raise DataError(
                f"{file.stem}: the clean control has no result with every seed, expected one to compare with"
            )
        found = attacking.attack(
            searched, row, space, budget, execution.jobs or 1, store, perform, clean, say, command_line()
        )
    except Stopped:
        return stopped()
    if not found.records:
        raise DataError(f"none of {budget} responses could be trained against {defense}")
    battery = [record for record in own if not record.trial.control]
    heads = ["responses of", "chosen", "worth (clean items)", "95 % interval", "quality"]
    by_search = _line(f"the search ({found.tried} tried)", clean.values(), found.records)
    print(text_table(heads, [_line("the track", clean.values(), battery), by_search]))
    lines = _toml(found.candidates)
    if out is None:
        print(f"\nfor the next version of the track:\n\n{lines}", end="")
    else:
        with replacing(out) as draft:
            draft.write_text(lines, encoding="utf-8")
        print(f"wrote {out}")
    return OK


def _line(name: str, clean: Iterable[Record], records: Sequence[Record]) -> list[str]:
    """A row of the table: what the protected set is worth by some records."""
    from bench.report.worth import item_range
    from bench.results.formats import number
    from bench.results.worths import row_worths

    rows: list[RowWorth] = [row for row in row_worths([*clean, *records]) if not row.control]
    if not rows:
        return [name, "failed", "", "", ""]
    worth = rows[0].worth
    quality = f"{number(worth.protected, '.3f')} of {number(worth.clean, '.3f')}"
    void = " (void)" if worth.void else ""
    return [name, rows[0].response, number(worth.items.mean, ",.0f") + void, item_range(worth.items), quality]


def _toml(candidates: Mapping[str, Candidate]) -> str:
    """The found responses as lines of a track's file, the best first."""
    chains = list(dict.fromkeys(candidate.adaptation for candidate in candidates.values()))
    lines = ["# " + response for response in candidates]
    lines += ["adaptations = [", *(f'  "{chain}",' for chain in chains), "]"]
    tables = {link.label: link for candidate in candidates.values() for link in candidate.links if link.parameter}
    for label, link in tables.items():
        lines += ["", f'[adaptation."{label}"]', f'plugin = "{link.name}"', f"{link.parameter} = {link.value}"]
    return "\n".join(lines) + "\n"
