"""What rules against added notes cost: the share of the notes of unprotected music that each of them changes.

    BENCH_DATA=../shared/data python benchmarks/price_of_rules.py
    python benchmarks/price_of_rules.py --rules drop_short unhold --set drop_short.longest=2 --sources ryan band

Sources are composers of the data set `composers` ("ryan": fiddle tunes, "bach": chorales, ...) and names of data sets
of rolls, such as "pop909"; what is not here is left out, with the reason. A note is changed if no note of its roll and
track has the same pitch, first step and duration after the rule; it is lost if none has the same pitch and first step.
Velocities do not count. Those of `composers` and `band` are drawn by code, so that what `loudness_threshold` and
`deghost` cost by them is known from performances alone (POP909).

Expected of 160 rolls of each: no rule but `quantise_grid` changes more than 1.2 % of the notes of the scores; of the
performances `unhold` changes 17 %, `merge_repeats` 9 %, `deghost` 4 %, `drop_short` and `loudness_threshold` 1 %.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Generator, Tensor

from bench import plugins
from bench.api import Adaptation, Rolls
from bench.errors import BenchError
from bench.notes.rolls import Notes, notes_of

RULES = ("merge_repeats", "deghost", "unhold", "drop_short", "loudness_threshold", "quantise_grid")
SOURCES = ("ryan", "bach", "pop909")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    given: dict[str, dict[str, object]] = {}
    for text in options.set:
        name, value = text.split("=", 1)
        rule, parameter = name.split(".", 1)
        given.setdefault(rule, {})[parameter] = json.loads(value)
    rules = {name: plugins.build("adaptations", name, given.get(name, {})) for name in options.rules}
    columns: dict[str, tuple[int, dict[str, tuple[float, float]]]] = {}
    for source in options.sources:
        try:
            music = load(source, options.rolls)
        except BenchError as error:
            print(f"{source} is left out: {error}")
            continue
        columns[source] = len(notes_of(music)), {name: price(rule, music) for name, rule in rules.items()}
    print(f"{'% of the notes changed (lost)':32}" + "".join(f"{source:>18}" for source in columns))
    for name in rules:
        cells = ("{:.2f} ({:.2f})".format(*(100 * share for share in prices[name])) for _, prices in columns.values())
        print(f"{name:32}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'notes':32}" + "".join(f"{count:>18,}" for count, _ in columns.values()))


def load(source: str, rolls: int) -> Rolls:
    """Load the training split of a composer or a data set.

    Args:
        source: A composer of `composers`, or a data set of rolls.
        rolls: How many.

    Returns:
        The rolls.
    """
    given: dict[str, object] = {"rolls": rolls}
    name = source if source in plugins.names("datasets") else "composers"
    if "audio" in plugins.load("datasets", name).domains:
        given["domain"] = "midi"
    if name == "composers":
        given["artist"] = (source,)
    music: Rolls = plugins.build("datasets", name, given).load("train")
    return music


def price(rule: Adaptation[Rolls], music: Rolls) -> tuple[float, float]:
    """Apply a rule to unprotected music.

    Args:
        rule: The rule.
        music: The music.

    Returns:
        Shares of the notes that are changed, and lost.
    """
    before, after = notes_of(music), notes_of(rule.transform(music, Generator().manual_seed(0)))
    _, tracks, steps, _ = music.velocity.shape
    changed, lost = (
        1 - float(torch.isin(*(_keys(notes, tracks, steps, whole) for notes in (before, after))).double().mean())
        for whole in (True, False)
    )
    return changed, lost


def _keys(notes: Notes, tracks: int, steps: int, whole: bool) -> Tensor:
    """Number notes by roll, track, pitch and start, and by duration where they are compared as a whole."""
    key = ((notes.roll * tracks + notes.track) * 128 + notes.pitch) * steps + notes.start
    return key * (steps + 1) + notes.duration if whole else key


def _options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="What rules against added notes cost")
    parser.add_argument("--rules", nargs="*", default=RULES)
    parser.add_argument("--sources", nargs="*", default=SOURCES, help="composers and data sets")
    parser.add_argument("--rolls", type=int, default=160, help="of each source")
    parser.add_argument("--set", nargs="*", default=[], help="parameters of rules, such as deghost.longest=2")
    return parser.parse_args()


if __name__ == "__main__":
    main()
