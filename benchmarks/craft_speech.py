"""Cost of crafting noise for speech: sign steps against M5, beside a loop over clips and segments, on one core.

    python benchmarks/craft_speech.py
    BENCH_DATA=... python benchmarks/craft_speech.py --whole

256 clips of 16,000 samples. Three ways to the same steps take turns in one process: ours
(`bench.training.crafting.perturb`); the loop as published code for masked noise has it, with a tensor for every segment
of every clip and the network layer by layer; and the floor, nothing but the network's loss and its gradient with
respect to the audio. Medians of processor time; wall time beside it.

Expected: loop / ours of at least 2 (2.0 to 2.5 measured, on a busy machine too); ours at most 15 % over the floor on an
idle machine (5 % to 26 % measured on a busy one); with --whole, `dynamic_epsilon` with its defaults on the 2,700
training clips of the spoken digits in at most 20 s of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench import plugins
from bench.api import Clips, Knowledge
from bench.sound.segments import stepped_mask
from bench.training.crafting import Descent, Noise, noise_bound, perturb
from bench.training.learning import seeded

CLIPS, SAMPLES, RATE, SEGMENT = 256, 16_000, 16_000, 1_000
EPSILON, STEP = 0.13, 0.04  # of full scale, and of the bound
WARM = 2  # rounds that are not counted


class Timer:
    """Processor and wall seconds of works that take turns, so that a busy machine slows them alike."""

    def __init__(self) -> None:
        self.spent: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, name: str, work: Callable[[], object]) -> None:
        """Do one turn of some work."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.spent.setdefault(name, []).append((time.process_time() - cpu, time.perf_counter() - wall))

    def median(self, name: str) -> tuple[float, float]:
        """Processor and wall seconds of one turn."""
        cpu, wall = zip(*self.spent[name][WARM:], strict=True)
        return statistics.median(cpu), statistics.median(wall)


def speech_like() -> Clips:
    """Noise in syllables, so that the mask takes all of its levels."""
    rng = torch.Generator().manual_seed(0)
    loudness = torch.rand(CLIPS, 1, 10, generator=rng).repeat_interleave(SAMPLES // 10, dim=-1) ** 2
    audio = (0.3 * loudness * torch.randn(CLIPS, 1, SAMPLES, generator=rng)).clamp(-1, 1)
    labels = torch.randint(10, (CLIPS,), generator=rng)
    return Clips.of(audio, RATE, labels=labels, classes=tuple("0123456789"))


def plain(model: Any, audio: Tensor) -> Tensor:
    """M5 layer by layer: what its evaluation mode computes in another way."""
    x = audio
    for convolution, norm in zip(model.convolutions, model.norms, strict=True):
        x = functional.max_pool1d(functional.relu(norm(convolution(x))), 4)
    logits: Tensor = model.head(x.mean(-1))
    return logits


def loop(model: Any, data: Clips, bound: Tensor, steps: int) -> list[list[Tensor]]:
    """The steps with one tensor a segment, one at a time. Returns the noise, [clip][segment]."""
    edges = range(0, SAMPLES, SEGMENT)
    epsilons = [[float(bound[i, 0, edge]) for edge in edges] for i in range(len(data))]
    noise = [[torch.zeros(1, SEGMENT) for _ in edges] for _ in range(len(data))]
    labels = data.labels
    assert labels is not None
    for _ in range(steps):
        perturbation = torch.stack([torch.cat(segments, dim=1) for segments in noise])
        audio = (data.audio + perturbation).clamp(-1, 1).requires_grad_()
        loss = functional.cross_entropy(plain(model, audio), labels, reduction="sum")
        loss.backward()
        assert audio.grad is not None
        for i, segments in enumerate(noise):
            for j, edge in enumerate(edges):
                epsilon = epsilons[i][j]
                updated = segments[j] - STEP * epsilon * audio.grad[i, :, edge : edge + SEGMENT].sign()
                segments[j] = updated.clamp(-epsilon, epsilon)
    return noise


def operations(model: Any) -> int:
    """Floating-point operations of one step of the set: the forward pass, and as many for the audio's gradient."""
    total, samples = 0, SAMPLES
    for convolution in model.convolutions:
        (kernel,), (stride,) = convolution.kernel_size, convolution.stride
        frames = (samples - kernel) // stride + 1
        total += frames * kernel * convolution.in_channels * convolution.out_channels
        samples = frames // 4  # the pool
    total += model.head.in_features * model.head.out_features
    return int(2 * 2 * total * CLIPS)


def steps(rounds: int, count: int) -> None:
    """`rounds` turns of `count` sign steps in each of the three ways, and of a product of matrices."""
    data, attacker = speech_like(), plugins.build("attackers", "m5")
    model = attacker.model(data, torch.Generator().manual_seed(1))
    with torch.no_grad(), seeded(torch.Generator().manual_seed(2)):
        for _ in range(3):
            model(data.audio)  # running statistics of this sound
    model.eval().requires_grad_(False)
    bound = noise_bound(data, EPSILON, padding=True) * stepped_mask(data.audio, SEGMENT)
    square = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(3))

    def ours() -> Noise:
        noise = Noise.silent(data, bound, "clip")
        rng = torch.Generator().manual_seed(4)
        perturb(noise, data, [attacker], [model], rng, Descent(count, STEP, CLIPS))
        return noise

    def floor() -> None:
        for _ in range(count):
            audio = data.audio.detach().requires_grad_()
            torch.autograd.grad(attacker.loss(model, data.with_audio(audio)).sum(), audio)

    ways: dict[str, Callable[[], object]] = {
        "ours": ours,
        "loop": lambda: loop(model, data, bound, count),
        "floor": floor,
        "matmul": lambda: [square @ square for _ in range(8)],
    }
    timer = Timer()
    for _ in range(WARM + rounds):
        for name, work in ways.items():
            timer(name, work)
    report(timer, ways, count, operations(model))

    looped = torch.stack([torch.cat(segments, dim=1) for segments in loop(model, data, bound, count)])
    noise = ours()
    agrees = (noise.bound * noise.unit - looped).abs() < 1e-6
    print(f"{'samples on which loop and ours agree':38}{100 * float(agrees.float().mean()):8.2f} %")


def report(timer: Timer, ways: Sequence[str] | dict[str, Any], count: int, flop: int) -> None:
    """Print times a step and their ratios."""
    print(f"{'':38}{'CPU ms a step':>14}{'wall ms':>10}{'steps/CPU s':>13}")
    seconds = {}
    for name in ("ours", "loop", "floor"):
        cpu, wall = (spent / count for spent in timer.median(name))
        seconds[name] = cpu
        print(f"{name:38}{1000 * cpu:14.1f}{1000 * wall:10.1f}{1 / cpu:13.2f}")
    product = 8 * 2 * 1024**3 / timer.median("matmul")[0]
    rate = flop / seconds["ours"]
    print(f"{'loop / ours (at least 2)':38}{seconds['loop'] / seconds['ours']:8.2f}")
    print(f"{'ours over the floor (at most 15 %)':38}{100 * (seconds['ours'] / seconds['floor'] - 1):8.1f} %")
    print(f"{'product of matrices, 1024':38}{product / 1e9:8.1f} GFLOP/s")
    print(f"{'a step of ours, of the product':38}{100 * rate / product:8.1f} %   ({rate / 1e9:.1f} GFLOP/s)")


def whole(rounds: int) -> None:
    """`dynamic_epsilon` on every training clip of the spoken digits, to its own stopping rule."""
    source = plugins.build("datasets", "spoken_digits")
    data = joined(source.load("train"), source.load("validation"))
    attacker, defense = plugins.build("attackers", "m5"), plugins.build("defenses", "dynamic_epsilon")
    timer = Timer()
    for seed in range(WARM + rounds):
        rng = torch.Generator().manual_seed(seed)
        timer("whole", partial(defense.protect, data, Knowledge("white-box", (attacker,)), rng))
    for cpu, wall in timer.spent["whole"]:
        print(f"{len(data)} clips: {cpu:.1f} s of processor time (at most 20), {wall:.1f} s wall")


def joined(first: Clips, second: Clips) -> Clips:
    """Both sets in one; they are of one data set and so have the same rate, window and classes."""
    assert first.labels is not None
    assert second.labels is not None
    return replace(
        first,
        audio=torch.cat([first.audio, second.audio]),
        ids=first.ids + second.ids,
        groups=first.groups + second.groups,
        lengths=torch.cat([first.lengths, second.lengths]),
        labels=torch.cat([first.labels, second.labels]),
        texts=first.texts + second.texts,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="craft the training set of the spoken digits")
    parser.add_argument("--rounds", type=int, default=0, help="turns that are counted (5; with --whole 1)")
    parser.add_argument("--steps", type=int, default=20, help="sign steps a turn; 20 are a pass of the published code")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.whole:
        whole(options.rounds or 1)
    else:
        steps(options.rounds or 5, options.steps)


if __name__ == "__main__":
    main()
