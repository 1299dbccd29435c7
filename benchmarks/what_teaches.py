"""What teaches a generator an artist's music: the artist's pieces, music by others, or anything at all?

An attacker is trained on different material with the same number of steps and tested on held-out pieces of the artist
and of the others. Every arm holds what a threat model gives it (docs/reading-a-table.md): the same few granted pieces
by the artist, and as many pieces by others as the artist publishes. Every seed draws its own material.

    python benchmarks/what_teaches.py --domain midi
    python benchmarks/what_teaches.py --domain audio --seeds 3

Arms beside that: nothing ("withheld"), the artist's pieces, more music by others in the same timbres, the artist's
scrambled (`defenses/scramble.py`), the artist's with its notes' times (its codes' frames) shuffled; and as audio, the
pretraining material of the base model. Prints the gain over "withheld" in nats (a note or a token), with its standard
error over seeds, and its share of what the artist's pieces teach. The artist's songs matter where every other share is
below a third.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Generator

from bench import plugins
from bench.api import Data, Knowledge, Rolls, concatenate
from bench.trials.draws import draw


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    gains: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        for arm, qualities in _seed(options, seed).items():
            gains.setdefault(arm, []).append(qualities)
    _print(gains)


def _options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="What teaches a generator an artist's music?")
    parser.add_argument("--domain", choices=("midi", "audio"), default="midi")
    parser.add_argument("--artist", default="palestrina")
    parser.add_argument("--others", default="bach,trecento,haydn,mozart,beethoven", help="comma-separated")
    parser.add_argument("--published", type=int, default=48)
    parser.add_argument("--granted", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--base", default="", help="a folder with weights of MusicGen in place of the shipped ones")
    parser.add_argument("--set", nargs="*", default=[], help="parameters of the attacker, such as steps=120")
    return parser.parse_args()


def _seed(options: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    """Train every arm of one seed; the mean quality on each test set by arm."""
    pool = 3 * options.published + options.granted
    others = tuple(options.others.split(","))
    size = {"domain": options.domain, "clips": pool, "rolls": pool, "stems": False}
    artist = plugins.build("datasets", "composers", {**size, "artist": (options.artist,), "others": others})
    other = plugins.build("datasets", "composers", {**size, "artist": others, "others": others})
    attacker = _attacker(options)

    def rng(phase: int) -> Generator:
        return Generator().manual_seed(100 * seed + phase)

    train = artist.load("train")
    drawn = draw(train, options.published, options.granted, rng(0))
    choosing, granted, published = (train.select(part) for part in (drawn.choosing, drawn.training, drawn.published))
    scramble = plugins.build("defenses", "scramble", {})
    replacement, more = _some(other.load("train"), options.published, rng(1))
    held = concatenate(_renamed(replacement, "replacement"), granted)
    material: dict[str, Data | None] = {
        "withheld": None,
        "artist": published,
        "others": more,
        "scrambled": scramble.protect(published, Knowledge(), rng(2)),
        "shuffled in time": _renamed(published, "shuffled"),
    }
    if options.domain == "audio":
        material["base's own"] = _some(artist.load("pretrain"), options.published, rng(3))[0]
    tests = {options.artist: artist.load("test"), "others": other.load("test")}
    result: dict[str, dict[str, float]] = {}
    for arm, data in material.items():
        start = time.process_time()
        whole = concatenate(_renamed(data, arm), held) if data is not None else held
        model = attacker.learn(whole, choosing, rng(4))
        with torch.no_grad():
            result[arm] = {name: float(attacker.quality(model, test)["nll"].mean()) for name, test in tests.items()}
        spent = time.process_time() - start
        print(f"seed {seed} {arm}: {result[arm]} ({len(whole)} items, {spent:.0f} s)", flush=True)
    return result


def _attacker(options: argparse.Namespace) -> Any:
    """Build the attacker, which shuffles the times of what is named so."""
    name = "musicgen" if options.domain == "audio" else "symphonynet"
    given: dict[str, Any] = {key: float(value) if "." in value else int(value) for key, value in
                             (setting.split("=") for setting in options.set)}  # fmt: skip
    if options.base:
        given["path"] = options.base
    attacker = plugins.build("attackers", name, given)
    own: Callable[[Any, Data], Any] = attacker._encoded if options.domain == "midi" else attacker._tokenized

    def encoded(model: Any, data: Data) -> Any:
        index = torch.tensor([i for i, item in enumerate(data.ids) if "shuffled" in item], dtype=torch.int64)
        if not len(index):
            return own(model, data)
        if isinstance(data, Rolls):
            from bench.attackers.symphonynet.encoding import shuffled

            moved = shuffled(data.select(index))
            velocity, onset = data.velocity.clone(), data.onset.clone()
            velocity[index], onset[index] = moved.velocity, moved.onset
            return own(model, replace(data, velocity=velocity, onset=onset))
        from bench.attackers.musicgen import _shuffled

        tokens = own(model, data)
        codes = tokens.codes.clone()
        codes[index] = _shuffled(tokens.select(index), [data.ids[i] for i in index]).codes
        return replace(tokens, codes=codes)

    object.__setattr__(attacker, "_encoded" if options.domain == "midi" else "_tokenized", encoded)
    return attacker


def _some(data: Data, count: int, rng: Generator) -> tuple[Data, Data]:
    """Draw two sets of items."""
    order = torch.randperm(len(data), generator=rng)
    return data.select(order[:count]), data.select(order[count : 2 * count])


def _renamed(data: Data, prefix: str) -> Data:
    """Name items apart from those of another set."""
    return replace(data, ids=tuple(f"{prefix}/{item}" for item in data.ids))


def _print(gains: dict[str, list[dict[str, float]]]) -> None:
    """Print the matrix as a Markdown table."""
    tests = list(gains["withheld"][0])
    print("| trained on | " + " | ".join(f"gain on {name} | share" for name in tests) + " |")
    print("| --- |" + " --- | --- |" * len(tests))
    for arm, rows in gains.items():
        cells = []
        for test in tests:
            own = torch.tensor([row[test] - low[test] for row, low in zip(rows, gains["withheld"], strict=True)])
            full = torch.tensor(
                [row[test] - low[test] for row, low in zip(gains["artist"], gains["withheld"], strict=True)]
            )
            error = float(own.std() / len(own) ** 0.5) if len(own) > 1 else float("nan")
            cells.append(f"{float(own.mean()):+.4f} ± {error:.4f} | {float(own.mean() / full.mean()):+.0%}")
        print(f"| {arm} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
