"""What teaches a generator an artist's music: the artist's pieces, music by others, or anything at all?

An attacker is trained on different material with the same number of steps and tested on held-out pieces of the artist
and of the others. Every arm holds what a threat model gives it (docs/reading-a-table.md): the same few granted pieces
by the artist, and as many pieces by others as the artist publishes. Every seed draws its own material.

    python benchmarks/what_teaches.py --domain midi
    python benchmarks/what_teaches.py --domain audio --seeds 3

Arms beside that: nothing ("withheld"), the artist's pieces, more music by others in the same timbres, the artist's
scrambled (`defenses/scramble.py`), the artist's with its notes' times (its codes' frames) shuffled; and the pretraining
material of the base model. Prints the gain over "withheld" in nats (a note or a token), with its standard
error over seeds, and its share of what the artist's pieces teach. The artist's songs matter where every other share is
below a third.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from bench import plugins
from bench.api import Clips, Data, Knowledge, Rolls, concatenate
from bench.trials.draws import draw


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    gains: dict[str, list[dict[str, float]]] = {}
    sets = _load(options)
    for seed in range(options.seeds):
        for arm, qualities in _seed(options, sets, seed).items():
            gains.setdefault(arm, []).append(qualities)
    _print(gains)


def _options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="What teaches a generator an artist's music?")
    parser.add_argument("--domain", choices=("midi", "audio"), default="midi")
    parser.add_argument("--artist", default="ryan")
    parser.add_argument("--others", default="", help="comma-separated; by default those of the split pretrain")
    parser.add_argument("--texture", default="all", help="of music by others, see the data set composers")
    parser.add_argument("--bars", type=int, default=8, help="of a roll")
    parser.add_argument("--published", type=int, default=48)
    parser.add_argument("--granted", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arms", default="", help="comma-separated; by default all")
    parser.add_argument("--base", default="", help="a folder with weights of MusicGen in place of the shipped ones")
    parser.add_argument("--set", nargs="*", default=[], help="parameters of the attacker, such as steps=120")
    return parser.parse_args()


def _load(options: argparse.Namespace) -> dict[str, Data]:
    """Load what the seeds draw from, and the test sets."""
    pool = 2 * options.published + 4 * options.granted
    built = plugins.build("datasets", "composers", {"domain": options.domain})
    others = tuple(options.others.split(",")) if options.others else built._pretraining()
    size = {
        "domain": options.domain,
        "bars": options.bars,
        "clips": pool,
        "rolls": pool,
        "pretrain_clips": options.published,
        "test_clips": 48,
        "stems": False,
    }
    artist = plugins.build("datasets", "composers", {**size, "artist": (options.artist,), "others": others})
    given = {**size, "artist": others, "others": others, "texture": options.texture}
    other = plugins.build("datasets", "composers", given)
    sets = {"artist": artist.load("train"), "others": other.load("train")}
    sets |= {"test of artist": artist.load("test"), "test of others": other.load("test")}
    return sets | {"pretrain": other.load("pretrain")}


def _seed(options: argparse.Namespace, sets: dict[str, Data], seed: int) -> dict[str, dict[str, float]]:
    """Train every arm of one seed; the mean quality on each test set by arm."""
    attacker = _attacker(options)

    def rng(phase: int) -> Generator:
        return Generator().manual_seed(100 * seed + phase)

    drawn = draw(sets["artist"], options.published, options.granted, rng(0))
    choosing, granted, published = (
        sets["artist"].select(part) for part in (drawn.choosing, drawn.training, drawn.published)
    )
    scramble = plugins.build("defenses", "scramble", {"scope": "set"} if options.domain == "midi" else {})
    replacement, more = _some(sets["others"], options.published, rng(1))
    held = concatenate(_renamed(replacement, "replacement"), granted)
    material: dict[str, Data | None] = {
        "withheld": None,
        "artist": published,
        "others": more,
        "scrambled": scramble.protect(published, Knowledge(), rng(2)),
        "shuffled in time": published,
        "base's own": _some(sets["pretrain"], options.published, rng(3))[0],
    }
    tests = {options.artist: sets["test of artist"], "others": sets["test of others"]}
    result: dict[str, dict[str, float]] = {}
    for arm in [arm for arm in material if not options.arms or arm in options.arms.split(",")]:
        start, data = time.process_time(), material[arm]
        train = concatenate(_renamed(data, arm), held) if data is not None else held
        model = attacker.learn(train, choosing, rng(4))
        with torch.no_grad():
            result[arm] = {name: float(attacker.quality(model, test)["nll"].mean()) for name, test in tests.items()}
        spent = time.process_time() - start
        print(f"seed {seed} {arm}: {result[arm]} ({len(train)} items, {spent:.0f} s)", flush=True)
    return result


def _attacker(options: argparse.Namespace) -> Any:
    """Build the attacker."""
    given: dict[str, Any] = {}
    for setting in options.set:
        key, value = setting.split("=")
        given[key] = value == "true" if value in ("true", "false") else float(value) if "." in value else int(value)
    if options.base:
        given["path"] = options.base
    attacker = plugins.build("attackers", "musicgen" if options.domain == "audio" else "symphonynet", given)
    if options.domain == "audio":
        from bench.attackers.musicgen import _shuffled, tokens

        tokenized = attacker._tokenized

        def shuffling(model: Any, clips: Clips) -> Any:
            encoded = tokenized(model, clips)
            index = _named(clips.ids)
            encoded.codes[index] = _shuffled(encoded.select(index), [clips.ids[i] for i in index]).codes
            return encoded

        object.__setattr__(attacker, "_tokenized", shuffling)
        if not hasattr(tokens.encode, "cache"):
            tokens.encode = _remembering(tokens.encode)
    else:
        from bench.attackers.symphonynet.encoding import shuffled

        encode = attacker._encoded

        def moving(model: Any, rolls: Rolls) -> Any:
            index = _named(rolls.ids)
            velocity, onset = rolls.velocity.clone(), rolls.onset.clone()
            if len(index):
                moved = shuffled(rolls.select(index))
                velocity[index], onset[index] = moved.velocity, moved.onset
            return encode(model, replace(rolls, velocity=velocity, onset=onset))

        object.__setattr__(attacker, "_encoded", moving)
    return attacker


def _remembering(encode: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Encode every waveform once."""
    cache: dict[bytes, Tensor] = {}

    def encoded(codec: Any, audio: Tensor) -> Tensor:
        keys = [hashlib.sha256(clip.numpy().tobytes()).digest() for clip in audio]
        new = [i for i, key in enumerate(keys) if key not in cache]
        if new:
            cache.update(zip([keys[i] for i in new], encode(codec, audio[new]), strict=True))
        return torch.stack([cache[key] for key in keys])

    encoded.cache = cache  # type: ignore[attr-defined]
    return encoded


def _named(ids: tuple[str, ...]) -> Tensor:
    """The items whose times are to be shuffled."""
    return torch.tensor([i for i, name in enumerate(ids) if name.startswith("shuffled")], dtype=torch.int64)


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
