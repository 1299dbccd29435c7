"""Throughput of every adaptation on one core: seconds of sound, or of music in rolls, per CPU second.

    python benchmarks/adaptations.py
    python benchmarks/adaptations.py --only wiener mp3 --clips 60

Clips are a second long at 16 kHz, mono, with labels; rolls have four bars of four tracks at 120 beats a minute. Each
hook that an adaptation has is measured once, after a first call on two items; training hooks train the kit's small
attacker, so their figure is a ratio to that attacker's own training.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from tabulate import tabulate

from bench import plugins
from bench._kit.sets import Reader, melodies, tones
from bench.api import Data, silent_log
from bench.errors import BenchError

_BEATS_A_SECOND = 2.0
_BARS = 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--clips", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name in options.only or plugins.names("adaptations"):
        cls = plugins.load("adaptations", name)
        for domain in cls.domains:
            try:
                lines += _measured(name, plugins.build("adaptations", name), domain, options.clips)
            except (BenchError, ImportError) as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
    print(tabulate(lines, ["adaptation", "domain", "hook", "seconds per CPU second", "of plain training"]))


def _measured(name: str, plugin: Any, domain: str, count: int) -> list[list[Any]]:
    """A line for each hook of an adaptation."""
    data: Data = tones(count, seconds=1.0) if domain == "audio" else melodies(count, bars=_BARS)
    few, seconds = data.select([0, 1]), count * (1.0 if domain == "audio" else 4 * _BARS / _BEATS_A_SECOND)

    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    lines: list[list[Any]] = []
    for hook in ("transform", "augment"):
        if plugin.implements(hook):
            work: Callable[..., object] = getattr(plugin, hook)
            work(few, rng())
            speed = seconds / _cpu(functools.partial(work, data, rng()))
            lines.append([name, domain, hook, f"{speed:,.0f}", ""])
    if plugin.implements("train") or plugin.implements("train_with_granted"):
        attacker = Reader()

        def train() -> object:
            if plugin.implements("train_with_granted"):
                return plugin.train_with_granted(attacker, data, few, few, rng(), log=silent_log)
            return plugin.train(attacker, data, few, rng(), log=silent_log)

        own = _cpu(train)
        plain = _cpu(lambda: attacker.learn(data, few, rng()))
        lines.append([name, domain, "train", f"{seconds / own:,.0f}", f"x {own / plain:.1f}"])
    return lines


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return max(time.process_time() - start, 1e-6)


if __name__ == "__main__":
    main()
