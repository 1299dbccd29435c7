"""Checks of what a defense returns, before it is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.api import Clips, Data, Rolls
from bench.errors import PluginError
from bench.metrics.alignment import misaligned
from bench.vocabulary import PerDomain

__all__ = ["check_bound", "check_protected"]


def check_protected(data: Data, protected: Any, title: str) -> Data:
    """Check a protected set: same items, shape and rate, valid values, silent padding.

    Args:
        data: The clean set.
        protected: What a defense returned.
        title: The stage, for messages.

    Returns:
        The protected set.

    Raises:
        PluginError: The defense broke the contract.
        DataError: Values are not valid.
    """
    if type(protected) is not type(data):
        raise PluginError(f"{title}: protect returned {type(protected).__name__}, expected {type(data).__name__}")
    if protected.ids != data.ids:
        raise PluginError(f"{title}: the ids or their order changed, expected those of the clean set")
    clean_signal, protected_signal = data.signal, protected.signal
    if clean_signal.shape != protected_signal.shape:
        raise PluginError(
            f"{title}: the shape changed from {tuple(clean_signal.shape)} to {tuple(protected_signal.shape)}"
        )
    if not torch.equal(data.lengths, protected.lengths):
        raise PluginError(
            f"{title}: the lengths changed, expected those of the clean set; declare padding = True to fill the padding"
        )
    checked: Data = protected.check(title)
    _PAIRED.of(data)(data, protected, title)
    return checked


def _paired_clips(data: Clips, protected: Clips, title: str) -> None:
    if data.rate != protected.rate:
        raise PluginError(f"{title}: the rate changed from {data.rate} to {protected.rate}")
    if strangers := misaligned(data, protected):
        name, source = strangers[0]
        raise PluginError(
            f"{title}: {len(strangers)} of {len(data)} protected clips are more like another clip's recording than "
            f"like their own (first: '{name}' is like '{source}'), expected the clips in their order, each changed less"
        )


def _paired_rolls(data: Rolls, protected: Rolls, title: str) -> None:
    """Check nothing: every note may have been changed."""


_PAIRED: PerDomain[Callable[[Any, Any, str], None]] = PerDomain(audio=_paired_clips, midi=_paired_rolls)


def check_bound(data: Data, protected: Data, epsilon: float | None, title: str) -> None:
    """Raise `PluginError` where the noise exceeds the bound that its defense declares, by more than one 16-bit step."""
    if epsilon is None:
        return
    peak = float((protected.signal - data.signal).abs().max())
    if peak > epsilon + 2**-15:
        raise PluginError(
            f"{title}: the noise peaks at {peak:.5f}, expected at most the defense's epsilon {epsilon:.5f}"
        )
