"""Simulate score 2: how often its intervals hold the truth, and how far a picked response is from what it reaches.

Every draw of an experiment has its own seeds, test items (in groups) and models: a protected set that the attacker
attacks with 3, 13 or 40 responses, one of which it picks in every seed by its granted items, and a clean curve at whose
every size it picks among the same responses. The truth is what this procedure reaches on average, and the clean items
that reach the same.

    python benchmarks/worth_coverage.py            # 2,000 draws a line; about 280 CPU s
    python benchmarks/worth_coverage.py --draws 300

With 2,000 draws a line it gave (standard error of a line's coverage: .005):

    responses  seeds  coverage, three lines  bias of the pick, largest  bias of the least, largest
    3          3      .952  .951  .955       .001                       .001
    3          5      .949  .959  .957       .003                       .003
    13         3      .951  .957  .951       .002                       .014
    13         5      .946  .956  .950       .001                       .008
    40         3      .945  .956  .953       .002                       .024
    40         5      .948  .963  .951       .001                       .017

Expected: coverage within .93 and .97 on every line, a bias of the pick under .01 on every line, and a bias of version 1
(the least over test results) that grows with the number of responses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.curve import CleanCurve
from bench.results.worth import Response, pick, worth

SIZES = (0, 75, 150, 300, 600, 1200, 2400)
GRANTED = 50


@dataclass(frozen=True)
class World:
    """The spreads of one simulated experiment; qualities run from about .2 (nothing published) to .9.

    Attributes:
        responses: how many the attacker has.
        seeds: how many seeds are run.
        groups: how many groups the test items come in.
        over_models: SD of a trained model's mean quality around its expectation.
        over_groups: SD of a group's quality, shared by all arms.
        gains_differ: SD of the effect of training on a group, relative to its mean.
        over_items: SD of what is left.
        per_group: test items in a group.
    """

    responses: int
    seeds: int
    groups: int
    over_models: float
    over_groups: float
    gains_differ: float
    over_items: float
    per_group: int = 4


@dataclass(frozen=True)
class Outcome:
    """What the draws of one world gave.

    Attributes:
        covered: the share of draws whose interval of the worth holds the true worth.
        bias: the mean of the picked response's estimated quality, less the truth.
        least_bias: the same for the least learned over all responses' test results, as version 1 chose.
        true_worth: clean items.
    """

    covered: float
    bias: float
    least_bias: float
    true_worth: float


def qualities(sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """Return [size] the expected quality on the clean curve: it rises evenly in log(N + granted)."""
    position = np.log(np.asarray(sizes) + GRANTED)
    return np.asarray(0.2 + 0.7 * (position - position[0]) / (position[-1] - position[0]))


def simulate(world: World, draws: int, seed: int = 0) -> Outcome:
    """Run the procedure of score 2 on simulated experiments.

    Args:
        world: the spreads.
        draws: how many experiments.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    expected = np.linspace(0.50, 0.58, world.responses) if world.responses > 1 else np.array([0.58])
    truth, best = _true_quality(world, expected, rng)
    # Responses differ as much on clean items, so the pick adds as much at every size as it adds on protected ones.
    curve, offsets = qualities(SIZES), expected - best
    position = np.interp(best, curve, np.log(np.asarray(SIZES) + GRANTED))
    true_worth = float(np.exp(position) - GRANTED)
    covered, bias, least = [], [], []
    for _ in range(draws):
        sample = _Sample(world, rng)
        clean = CleanCurve(SIZES, np.stack([sample.picked(value + offsets) for value in curve]), GRANTED)
        models = [sample.models() for _ in expected]
        granted = [sample.granted(value, model) for value, model in zip(expected, models, strict=True)]
        tests = [sample.test(value, model) for value, model in zip(expected, models, strict=True)]
        chosen = pick([Response(str(i), g, t) for i, (g, t) in enumerate(zip(granted, tests, strict=True))])
        result = worth(clean, chosen.test, sample.groups)
        covered.append(result.items.low <= true_worth <= result.items.high)
        bias.append(float(chosen.test.mean()) - truth)
        least.append(max(float(test.mean()) for test in tests) - best)
    return Outcome(float(np.mean(covered)), float(np.mean(bias)), float(np.mean(least)), true_worth)


class _Sample:
    """The test items of one experiment, which all of its arms and seeds share."""

    def __init__(self, world: World, rng: np.random.Generator):
        self._world, self._rng = world, rng
        self._group = rng.normal(0.0, world.over_groups, world.groups)
        self._gain = rng.normal(1.0, world.gains_differ, world.groups)
        self._index = np.repeat(np.arange(world.groups), world.per_group)
        self.groups = [str(index) for index in self._index]

    def models(self) -> NDArray[np.float64]:
        """Draw [seed] deviations of trained models from what is expected of them."""
        return self._rng.normal(0.0, self._world.over_models, self._world.seeds)

    def picked(self, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draw [seed, item] qualities on the test items of the response that the granted items pick in each seed.

        Args:
            expected: [response] what is expected of each.
        """
        models = np.stack([self.models() for _ in expected])
        granted = np.stack([self.granted(value, model) for value, model in zip(expected, models, strict=True)])
        chosen = granted.argmax(0)
        return self.test(expected[chosen], models[chosen, np.arange(len(chosen))])

    def test(self, expected: float | NDArray[np.float64], models: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draw [seed, item] qualities on the test items; `expected` for all seeds or [seed]."""
        level = (np.reshape(expected, (-1, 1)) - 0.2) * self._gain[self._index] + 0.2 + self._group[self._index]
        noise = self._rng.normal(0.0, self._world.over_items, (self._world.seeds, len(self._index)))
        return np.asarray(level + models[:, None] + noise)

    def granted(self, expected: float, models: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draw [seed] mean qualities on the half of the granted items that is kept for choosing."""
        error = np.hypot(self._world.over_items, 0.05) / np.sqrt(GRANTED / 2)
        return expected + models + self._rng.normal(0.0, error, self._world.seeds)


def _true_quality(world: World, expected: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Return what the pick reaches on average over seeds, and what the best single response reaches."""
    models = rng.normal(0.0, world.over_models, (200_000, len(expected)))
    error = np.hypot(world.over_items, 0.05) / np.sqrt(GRANTED / 2)
    granted = expected + models + rng.normal(0.0, error, models.shape)
    chosen = granted.argmax(1)
    reached = (expected + models)[np.arange(len(chosen)), chosen]
    return float(reached.mean()), float(expected.max())


def worlds() -> Iterator[World]:
    """Yield the settings: each number of responses, with seeds, groups or items as the largest source of error."""
    for responses in (3, 13, 40):
        for seeds in (3, 5):
            yield World(responses, seeds, 30, over_models=0.03, over_groups=0.1, gains_differ=0.1, over_items=0.2)
            yield World(responses, seeds, 30, over_models=0.01, over_groups=0.3, gains_differ=0.5, over_items=0.2)
            yield World(responses, seeds, 75, over_models=0.02, over_groups=0.1, gains_differ=0.05, over_items=0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="simulated experiments a line")
    arguments = parser.parse_args()
    print("responses  seeds  model SD  coverage  bias of the pick  bias of the least  true worth")
    for world in worlds():
        outcome = simulate(world, arguments.draws)
        print(
            f"{world.responses:9}  {world.seeds:5}  {world.over_models:8.2f}  {outcome.covered:8.3f}  "
            f"{outcome.bias:+16.4f}  {outcome.least_bias:+17.4f}  {outcome.true_worth:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
