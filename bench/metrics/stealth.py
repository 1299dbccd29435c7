"""Stealth of a defense: how well detectors tell protected items from clean ones.

An attacker who can tell them apart leaves the protected ones out, or cleans only those. Every detector gives one score
an item, higher for "protected"; `detection` turns the scores into figures (`bench.metrics.roc`).

Detectors
---------
* `isolation_forest` and `one_class_svm`: fitted to clean reference items, they know no protected one; scikit-learn.
* `outlier`: the largest deviation of a single feature from the median of the reference, in robust standard deviations.
* `codec_residual` of clips: what a round trip through MP3 changes.
* `surprise` of rolls: of intervals and durations, under a bigram model fitted to the reference.
* `linear_probe`: logistic regression on clean and protected items, scored on groups held out from its training. It
  alone has seen items of the same defense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from bench.api import Clips, Data, Rolls
from bench.errors import DataError
from bench.metrics import roc
from bench.metrics.stealth_features import clip_features, codec_residual, in_order, roll_features
from bench.notes.rolls import notes_of

__all__ = [
    "detection", "feature_table", "isolation_forest", "linear_probe", "one_class_svm", "outlier", "robust_z",
    "surprise",
]  # fmt: skip

_FEWEST = 8  # items of a reference
_FOLDS = 5
_MAD = 1.4826  # standard deviation of a normal distribution whose median absolute deviation is 1
_LARGEST_Z = 1e3
_RIDGE = 1.0  # weight of half the squared weights beside the summed log loss
_STEPS = 2000
_INTERVALS = 24  # semitones; larger ones count as this
_OCTAVES = 6  # durations and distances of onsets: 1, 2, 3-4, ... steps, in powers of two
_TOKENS = (2 * _INTERVALS + 1) * _OCTAVES * (_OCTAVES + 1)
_TRUST = 2.0  # occurrences of a token at which its bigrams weigh as much as the unigram


def detection(clean: Data, protected: Data, reference: Data, rng: Generator) -> dict[str, dict[str, float]]:
    """Score how well each detector tells protected items from clean ones.

    The clean and the protected items may be the same recordings before and after, or others; an item is never scored by
    a probe that was trained on its group. Reference items must be neither.

    Args:
        clean: Clean items.
        protected: Protected items, of the same kind.
        reference: Other clean items, to which the detectors that know no protected item are fitted.
        rng: Random numbers: of the isolation forest, and of the folds of the probe.

    Returns:
        Detector -> `auc` (0.5: not told apart), `tpr_at_1_fpr` and `eer`.

    Raises:
        DataError: A set is empty, the three are not of one kind and rate, or the reference has fewer than 8 items.
        ModuleNotFoundError: scikit-learn is not installed (the extra `detection`).
    """
    _require(clean, protected, reference)
    rows, others, known = (feature_table(data) for data in (clean, protected, reference))
    both = torch.cat([rows, others])
    scores = {
        "isolation_forest": isolation_forest(both, known, rng),
        "one_class_svm": one_class_svm(both, known),
        "outlier": outlier(both, known),
        "linear_probe": linear_probe(rows, others, (*clean.groups, *protected.groups), rng),
    }
    if isinstance(clean, Clips) and isinstance(protected, Clips):
        scores["codec_residual"] = torch.cat([codec_residual(clean), codec_residual(protected)])
    elif isinstance(clean, Rolls) and isinstance(protected, Rolls) and isinstance(reference, Rolls):
        scores["surprise"] = torch.cat([surprise(clean, reference), surprise(protected, reference)])
    return {name: roc.figures(score[len(rows) :], score[: len(rows)]) for name, score in scores.items()}


def feature_table(data: Data) -> Tensor:
    """Compute the features of `bench.metrics.stealth_features` as a table.

    Args:
        data: A set.

    Returns:
        float64 [item, feature], on the processor.
    """
    columns = roll_features(data) if isinstance(data, Rolls) else clip_features(data)
    return torch.stack(list(columns.values()), 1).cpu()


def isolation_forest(rows: Tensor, reference: Tensor, rng: Generator) -> Tensor:
    """Score items by how few random cuts set them apart (Liu, Ting and Zhou 2008).

    Args:
        rows: Features of the items, [item, feature].
        reference: Features of clean items.
        rng: Random numbers of the cuts.

    Returns:
        float64 [item].
    """
    from sklearn.ensemble import IsolationForest

    seed = int(torch.randint(1 << 31, (1,), generator=rng, device=rng.device))
    forest = IsolationForest(random_state=seed).fit(_array(reference))
    return -torch.as_tensor(forest.score_samples(_array(rows)), dtype=torch.float64)


def one_class_svm(rows: Tensor, reference: Tensor) -> Tensor:
    """Score items by their distance from the region of most clean ones (Schölkopf et al. 2001).

    Args:
        rows: Features of the items, [item, feature].
        reference: Features of clean items, which also give the scale of each feature.

    Returns:
        float64 [item].
    """
    from sklearn.svm import OneClassSVM

    machine = OneClassSVM(nu=0.1, gamma="scale").fit(_array(_standard(reference, reference)))
    scores: Any = machine.decision_function(_array(_standard(rows, reference)))
    return -torch.as_tensor(scores, dtype=torch.float64)


def robust_z(rows: Tensor, reference: Tensor) -> Tensor:
    """Compute the deviation of features from the median of clean items, in robust standard deviations.

    The deviation of a feature is that of the median absolute deviation, but not less than a hundredth of the standard
    deviation nor than 1e-3.

    Args:
        rows: Features of the items, [item, feature].
        reference: Features of clean items.

    Returns:
        float64 [item, feature], within -1000..1000.
    """
    middle = reference.quantile(0.5, 0)
    spread = _MAD * (reference - middle).abs().quantile(0.5, 0)
    least = (0.01 * reference.std(0, correction=0)).clamp_min(1e-3)
    return ((rows - middle) / torch.maximum(spread, least)).clamp(-_LARGEST_Z, _LARGEST_Z)


def outlier(rows: Tensor, reference: Tensor) -> Tensor:
    """Score items by their most deviating feature.

    Args:
        rows: Features of the items, [item, feature].
        reference: Features of clean items.

    Returns:
        float64 [item], robust standard deviations.
    """
    return robust_z(rows, reference).abs().amax(1)


def linear_probe(clean: Tensor, protected: Tensor, groups: Sequence[str], rng: Generator) -> Tensor:
    """Score items by logistic regression on the items of other groups.

    Groups are dealt into up to five folds; items of each fold are scored by the probe that was fitted to the others.
    Both kinds have the same weight. The clean and the protected version of a recording must be of one group.

    Args:
        clean: Features of clean items, [item, feature].
        protected: Features of protected items.
        groups: One an item, the clean ones first.
        rng: Random numbers that deal the groups.

    Returns:
        float64 [item], log odds, the clean ones first; NaN where the other folds lack one of the kinds.
    """
    rows = torch.cat([clean, protected])
    target = torch.arange(len(rows)) >= len(clean)
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    fold_of = torch.randperm(len(names), generator=rng, device=rng.device).cpu() % _FOLDS
    fold = fold_of[torch.tensor([names[name] for name in groups])]
    scores = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    for number in fold.unique().tolist():
        held_out = fold == number
        seen, kind = rows[~held_out], target[~held_out]
        if kind.any() and not kind.all():
            weights = _logistic(_standard(seen, seen), kind)
            scores[held_out] = _standard(rows[held_out], seen) @ weights[1:] + weights[0]
    return scores


def surprise(rolls: Rolls, reference: Rolls) -> Tensor:
    """Score rolls by how unexpected their notes are, as the perplexity of a language model would.

    A token is the interval from the last note of the track, the distance of their onsets and the duration. Its
    probability, given the token before, is that of a bigram model of the reference, smoothed by the frequency of
    single tokens, and that by a uniform distribution.

    Args:
        rolls: The rolls.
        reference: Clean rolls.

    Returns:
        Nats a token, float64 [roll]; 0 for a roll without two notes in a track.
    """
    _, known, before = _tokens(reference)
    single = torch.bincount(known, minlength=_TOKENS).double()
    pairs, count = torch.unique(before * _TOKENS + known, return_counts=True)
    led = torch.zeros(_TOKENS + 1, dtype=torch.float64).index_add_(0, pairs // _TOKENS, count.double())
    roll, token, last = _tokens(rolls)
    unigram = (single[token] + 1.0 / _TOKENS) / (single.sum() + 1.0)
    key = last * _TOKENS + token
    at = torch.searchsorted(pairs, key).clamp(max=max(0, len(pairs) - 1))
    found = count[at].double() * (pairs[at] == key) if len(pairs) else key.double() * 0
    nats = -((found + _TRUST * unigram) / (led[last] + _TRUST)).log()
    total = torch.zeros(len(rolls), dtype=torch.float64).index_add_(0, roll, nats)
    return total / torch.bincount(roll, minlength=len(rolls)).clamp_min(1)


def _tokens(rolls: Rolls) -> tuple[Tensor, Tensor, Tensor]:
    """Return roll, token and the token before it, int64 each; `_TOKENS` is the one before the first of a track."""
    notes = in_order(notes_of(rolls.to("cpu")))
    follows = (notes.roll[1:] == notes.roll[:-1]) & (notes.track[1:] == notes.track[:-1])
    interval = notes.pitch.diff().clamp(-_INTERVALS, _INTERVALS) + _INTERVALS
    distance = torch.where(notes.start.diff() > 0, 1 + _octave(notes.start.diff()), 0)
    token = (interval * (_OCTAVES + 1) + distance) * _OCTAVES + _octave(notes.duration[1:])
    before = torch.cat([torch.full_like(token[:1], _TOKENS), torch.where(follows[:-1], token[:-1], _TOKENS)])
    return notes.roll[1:][follows], token[follows], before[follows]


def _octave(steps: Tensor) -> Tensor:
    return steps.clamp_min(1).double().log2().ceil().long().clamp(max=_OCTAVES - 1)


def _logistic(rows: Tensor, kind: Tensor) -> Tensor:
    """Fit logistic regression; return the constant and the weights, float64 [1 + feature]."""
    from scipy.optimize import minimize

    share = kind.double().mean()
    weight = torch.where(kind, 0.5 / share, 0.5 / (1.0 - share))
    design = torch.cat([torch.ones_like(rows[:, :1]), rows], 1)
    sign = torch.where(kind, 1.0, -1.0).double()
    penalty = torch.full((design.shape[1],), _RIDGE, dtype=torch.float64)
    penalty[0] = 0.0

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(np.array(values, dtype=np.float64))
        margin = sign * (design @ weights)
        loss = (weight * torch.nn.functional.softplus(-margin)).sum() + 0.5 * (penalty * weights.square()).sum()
        slope = design.T @ (-sign * weight * torch.sigmoid(-margin)) + penalty * weights
        return float(loss), slope.numpy()

    start = np.zeros(design.shape[1])
    fitted = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return torch.as_tensor(fitted.x, dtype=torch.float64)


def _standard(rows: Tensor, reference: Tensor) -> Tensor:
    """Scale features by mean and standard deviation of the reference; one that is constant there becomes 0."""
    spread = reference.std(0, correction=0)
    return (rows - reference.mean(0)) / torch.where(spread > 1e-9, spread, torch.inf)


def _array(rows: Tensor) -> np.ndarray:
    return np.ascontiguousarray(rows.detach().cpu().numpy())


def _require(clean: Data, protected: Data, reference: Data) -> None:
    """Raise `DataError` unless the sets are of one kind and rate, and large enough."""
    sets = {"clean": clean, "protected": protected, "reference": reference}
    if len({type(data) for data in sets.values()}) > 1:
        kinds = ", ".join(f"{name} {type(data).__name__}" for name, data in sets.items())
        raise DataError(f"sets of several kinds ({kinds}), expected one kind")
    rates = {data.rate for data in sets.values() if isinstance(data, Clips)}
    if len(rates) > 1:
        raise DataError(f"clips of {' and '.join(map(str, sorted(rates)))} samples a second, expected one rate")
    for name, least in (("clean", 1), ("protected", 1), ("reference", _FEWEST)):
        if len(sets[name]) < least:
            raise DataError(f"{len(sets[name])} {name} items, expected at least {least}")
