"""RNNoise: a recurrent network scales 32 bands of each frame, as in calls and video conferences.

The network and its weights are compiled into the library of the package `pyrnnoise` 0.4.5 (Apache-2.0; RNNoise itself
is BSD-3-Clause), which is called directly. SHA-256 of librnnoise.so for Linux on x86-64:
de5120abce147a72ba343296744ae7cc0a97298e19307c7d3f01cce8c34b18ff. It was trained on speech at 48 kHz: what is no speech
is noise to it. Its delay of 960 samples, two frames, is cut off.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.frames import streamed
from bench.sound.recoding import at_rate, one_by_one

_PACKAGE = "pyrnnoise"
_LIBRARIES = {"linux": "librnnoise.so", "darwin": "librnnoise.dylib", "win32": "rnnoise.dll"}
_RATE = 48_000
_DELAY = 960  # samples
_SCALE = 32_768.0  # it takes samples of 16 bits, as floats


@dataclass(frozen=True)
class RnNoise(Adaptation[Clips]):
    """Denoise clips by RNNoise. Each channel is denoised by itself, at 48 kHz.

    Attributes:
        strength: share of what RNNoise removes that is removed, 0 (nothing) to 1.
    """

    domains = ("audio",)
    preprocess = True
    aligned = False  # speech stays in place; of a sweep, which is noise to it, the pitch filter leaves shifted copies
    sweep = ("strength", 0.25, 1.0)
    paper = "Valin 2018, IEEE MMSP (A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement)"

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)

    def inventory(self) -> dict[str, str]:
        """Say whether the package is here."""
        here = importlib.util.find_spec(_PACKAGE) is not None
        return {_PACKAGE: "" if here else "rnnoise (pip install 'cloakbench[rnnoise]')"}

    def transform(self, data: Clips, rng: Generator) -> Clips:
        clean = at_rate(data, _RATE, lambda audio, lengths: one_by_one(audio, lengths, _denoised)).audio
        return data.with_audio(data.audio + self.strength * (clean - data.audio))


def _denoised(sound: np.ndarray) -> np.ndarray:
    """Denoise one recording [channel, sample] at 48 kHz."""
    library = _library()
    clean = np.empty_like(sound)
    for given, made in zip(sound, clean, strict=True):
        state = library.rnnoise_create(None)
        process = functools.partial(_process, library, state)
        try:
            made[:] = streamed(given * np.float32(_SCALE), library.rnnoise_get_frame_size(), _DELAY, process)
        finally:
            library.rnnoise_destroy(state)
    return clean / np.float32(_SCALE)


def _process(library: Any, state: int, before: int, after: int) -> None:
    library.rnnoise_process_frame(state, after, before)


@functools.cache
def _library() -> Any:
    """Load the library. Its package is not imported, since that needs players and plots."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named '{_PACKAGE}'", name=_PACKAGE)
    library = ctypes.CDLL(str(Path(found.origin).parent / _LIBRARIES[sys.platform]))
    library.rnnoise_create.restype, library.rnnoise_create.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    library.rnnoise_destroy.restype, library.rnnoise_destroy.argtypes = None, [ctypes.c_void_p]
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p] * 3
    return library
