"""Pretraining of the small SymphonyNet that ships with bench, on one CPU core.

    python attackers/symphonynet/pretrain.py --out attackers/symphonynet/songs --work FOLDER

Trains on the split "pretrain" of the data set `composers` as rolls: folk songs of one voice, each time in one of twelve
transpositions. Nothing by the artist whom the benchmark protects is among them. The last state is kept, not the best
one. The state is kept in the work folder and taken up again. Prints the loss on songs of no other split, and at the end
the model card's figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench.api import Rolls
from bench.training import states
from bench.training.learning import batches

LOWEST, HIGHEST = -5, 6  # semitones of a transposition
HELD_OUT = 200  # rolls of songs that are in no other split, for the figures


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    attacker: Any = plugins.build("attackers", "symphonynet", {"pretrained": False})
    train, held_out = _songs("pretrain"), _songs("test").select(range(HELD_OUT))
    model = attacker.model(train, Generator().manual_seed(options.seed))
    attacker._count(model, train)
    _say(f"{len(train)} rolls, {sum(p.numel() for p in model.parameters()) / 1e3:.0f} k parameters")
    spent = _train(attacker, model, train, held_out, options)
    _save(model, options.out)
    figures: dict[str, float] = {
        "cpu_seconds": spent,
        "rolls": len(train),
        "notes": int(train.onset.sum()),
        "held_out_rolls": HELD_OUT,
    }
    for name, data in (("train", train), ("held_out", held_out)):
        qualities = attacker.quality(model, data.select(range(HELD_OUT)))
        figures |= {f"{name}_{key}": round(float(value.mean()), 3) for key, value in qualities.items()}
    _say(json.dumps(figures, indent=1))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Pretrain the small SymphonyNet.")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    parser.add_argument("--work", type=Path, required=True, help="where the state of the training is kept")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=16, help="rolls a step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _songs(split: str) -> Rolls:
    """Load the folk songs of a split."""
    given = {"domain": "midi", "artist": ("essen",), "rolls": 0, "test_rolls": 0}
    rolls: Any = plugins.build("datasets", "composers", given).load(split)
    return rolls  # type: ignore[no-any-return]


def _train(attacker: Any, model: nn.Module, train: Rolls, held_out: Rolls, options: argparse.Namespace) -> int:
    """Train by AdamW; taken up where the work folder has a state. Returns processor-seconds."""
    begin = time.process_time()
    tokens, held_out_tokens = attacker._encoded(model, train), attacker._encoded(model, held_out)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    state = options.work / "state.safetensors"
    done, before = states.take_up(state, model, optimizer)
    losses: list[float] = []
    for step, index in _batches(len(train), done, options):
        rng = Generator().manual_seed(1_000_000 * (options.seed + 1) + step)  # taking up a run changes nothing
        for group in optimizer.param_groups:
            group["lr"] = options.lr * _schedule(step, options.steps)
        loss = attacker._loss(
            model.train(), _transposed(attacker._window(tokens.select(index), rng, model), rng)
        ).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 200 == 0 or step == options.steps:
            with torch.no_grad():
                on_held_out = float(attacker._loss(model.eval(), held_out_tokens).mean())
            cpu = before + time.process_time() - begin
            on_train = sum(losses) / len(losses)
            _say(f"step {step}: train {on_train:.3f}, held out {on_held_out:.3f} nats a note, {cpu:.0f} s")
            losses.clear()
            states.keep(state, model, optimizer, step, cpu)
    return round(before + time.process_time() - begin)


def _batches(items: int, done: int, options: argparse.Namespace) -> Iterator[tuple[int, Tensor]]:
    """Yield the steps that are still to be done, each with its batch."""
    rng = Generator().manual_seed(options.seed)
    return islice(enumerate(batches(items, options.batch, rng), 1), done, options.steps)


def _schedule(step: int, steps: int) -> float:
    """The rate's factor: a warm-up, a plateau, and a linear descent in the last quarter."""
    return min(1.0, step / 100, 0.02 + 4 * (1 - step / steps))


def _transposed(tokens: Any, rng: Generator) -> Any:
    """Transpose every roll by a random interval."""
    shift = torch.randint(LOWEST, HIGHEST + 1, (len(tokens), 1), generator=rng)
    event = tokens.fields["event"]
    return replace(tokens, fields={**tokens.fields, "event": torch.where(tokens.notes > 0, event + shift, event)})


def _save(model: nn.Module, out: Path) -> None:
    """Write the weights in half precision, and round the model to what was written."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    model.half()
    save_file({name: value.contiguous() for name, value in model.named_parameters()}, out / "model.safetensors")
    model.float()


def _say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    plugins.load("attackers", "symphonynet")  # gives this folder its name as a package
    sys.exit(importlib.import_module("bench.attackers.symphonynet.pretrain").main())
