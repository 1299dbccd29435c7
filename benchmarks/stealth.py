"""How well detectors tell protected items from clean ones, for the defenses named.

    python benchmarks/stealth.py noise separable loop
    python benchmarks/stealth.py ghosts random_velocity --dataset chorales --domain midi
    python benchmarks/stealth.py error_maximizing --attacker mfcc --set error_maximizing.epsilon=0.004

Items come from one split: those protected are compared with their own clean versions, and the detectors that know no
protected item are fitted to as many others of other groups. The last row compares clean items with those of a third
part of the groups, which nothing should tell apart: how far it lies from 0.5 is what the draw alone does. An entry is
AUC, then TPR at an FPR of 1 % (of fewer than 100 items: without a false alarm).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import torch
from tabulate import tabulate

from bench import plugins
from bench.api import Data, Knowledge
from bench.commands.protect import build_plugins
from bench.errors import BenchError
from bench.metrics.stealth import detection


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("defenses", nargs="+")
    parser.add_argument("--dataset", default="spoken_words")
    parser.add_argument("--domain", default="", help="audio or midi, for a data set that has both")
    parser.add_argument("--size", default="small", help="preset of the data set")
    parser.add_argument("--preset", default="smoke", help="of defense and attacker")
    parser.add_argument("--split", default="train")
    parser.add_argument("--items", type=int, default=65, help="to protect; as many others are the reference")
    parser.add_argument("--attacker", default="none", help="surrogate of the defenses that craft noise")
    parser.add_argument("--set", nargs="*", default=[], help="parameters, such as noise.snr_db=20")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    domain = {"domain": options.domain} if options.domain else {}
    data = plugins.build("datasets", options.dataset, domain, options.size).load(options.split)
    clean, reference, other = _apart(data, options.items, torch.Generator().manual_seed(options.seed))
    print(f"{options.dataset}: {len(clean)} items to protect, {len(reference)} in the reference", file=sys.stderr)
    lines, names = [], []
    for defense in [*options.defenses, "(other clean items)"]:
        start, rng = time.process_time(), torch.Generator().manual_seed(options.seed)
        try:
            if defense.startswith("("):
                changed: Data = other
            else:
                changed = _protected(defense, clean, options, rng)
            found = detection(clean, changed, reference, rng)
        except (BenchError, ImportError) as error:
            print(f"{defense}: left out: {error}", file=sys.stderr)
            continue
        names = list(found)
        cells = [f"{figures['auc']:.2f}  {100 * figures['tpr_at_1_fpr']:3.0f} %" for figures in found.values()]
        lines.append([defense, *cells, f"{time.process_time() - start:.1f}"])
    print(tabulate(lines, ["defense", *names, "CPU s"]))


def _apart(data: Any, items: int, rng: torch.Generator) -> list[Any]:
    """Draw three sets of items that share no group."""
    names = list(dict.fromkeys(data.groups))
    part = dict(zip(names, (torch.randperm(len(names), generator=rng) % 3).tolist(), strict=True))
    draw = torch.randperm(len(data), generator=rng).tolist()
    return [data.select([at for at in draw if part[data.groups[at]] == number][:items]) for number in range(3)]


def _protected(defense: str, clean: Any, options: argparse.Namespace, rng: torch.Generator) -> Any:
    """Apply a defense."""
    settings = [each for each in options.set if each.split(".")[0] in (defense, options.attacker)]
    plugin, knowledge = build_plugins(clean.domain, defense, options.attacker, options.preset, settings)
    if knowledge.surrogates:
        knowledge = Knowledge("white-box", knowledge.surrogates)
    return plugin.protect(clean, knowledge, rng)


if __name__ == "__main__":
    main()
