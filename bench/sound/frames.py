"""Run a native denoiser that takes frame after frame, with state, over a recording, and cut off its delay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["streamed"]


def streamed(sound: np.ndarray, size: int, delay: int, process: Callable[[int, int], object]) -> np.ndarray:
    """Stream a recording through a function of frames.

    Args:
        sound: float32 [sample], in the scale that the function expects.
        size: samples of a frame.
        delay: samples by which the output is late.
        process: called with the addresses of an input and an output frame of float32, in order.

    Returns:
        float32 [sample], in place.
    """
    count = -(-(len(sound) + delay) // size)
    given = np.zeros((count, size), np.float32)
    given.reshape(-1)[: len(sound)] = sound
    made = np.zeros_like(given)
    for before, after in zip(given, made, strict=True):
        process(before.ctypes.data, after.ctypes.data)
    return made.reshape(-1)[delay : delay + len(sound)]
