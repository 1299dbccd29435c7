"""Find pretrained checkpoints in a folder or in the Hugging Face cache, list and fingerprint them.

A checkpoint is what Transformers' `save_pretrained` writes: `config.json` and `*.safetensors`. No pickle is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bench.errors import DataError

__all__ = ["fingerprint", "from_hub", "inventory", "require_checkpoint"]

_FILES = ("config.json", "*.safetensors")


def require_checkpoint(folder: Path, attacker: str, named_by: str) -> Path:
    """Check that a folder holds a checkpoint.

    Args:
        folder: Where it should be.
        attacker: The attacker's name, for the error.
        named_by: What gave the folder, such as a parameter, for the error.

    Returns:
        The folder.

    Raises:
        DataError: A file is missing.
    """
    if missing := _missing(folder):
        raise DataError(
            f"{attacker}: no {missing} in {folder} ({named_by}); expected a folder written by save_pretrained"
        )
    return folder


def from_hub(repository: str, attacker: str, *, download: bool, more: tuple[str, ...] = ()) -> Path:
    """Find a checkpoint in the Hugging Face cache.

    Args:
        repository: its name on the hub.
        attacker: name of the attacker, for the error.
        download: whether to fetch what the cache lacks.
        more: patterns of files that are needed beside JSON and weights.

    Returns:
        The folder of the checkpoint.

    Raises:
        DataError: it is not in the cache, or could not be downloaded; says how to get it.
        ValueError: no repository can have that name.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", *more]
    try:
        folder = Path(snapshot_download(repository, local_files_only=not download, allow_patterns=patterns))
        complete, cause = not _missing(folder), None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        complete, cause = False, error
    if complete:
        return folder
    if download:
        text = "could not be downloaded; fetch it elsewhere and set attacker.path to its folder"
    else:
        text = (
            f"is not in the Hugging Face cache ({constants.HF_HUB_CACHE}); set attacker.download=true, "
            f"run `hf download {repository}`, or set attacker.path to a folder that holds it"
        )
    raise DataError(f"{attacker}: {repository} {text}") from cause


def inventory(checkpoints: Mapping[str, str], attacker: str) -> dict[str, str]:
    """Say which public checkpoints the Hugging Face cache holds.

    Args:
        checkpoints: repository -> the parameter that needs it, such as "size=small".
        attacker: name of the attacker.

    Returns:
        Repository -> "" where the cache has it, else what its lack disables and how to get it.
    """
    states = {}
    for repository, parameter in checkpoints.items():
        try:
            from_hub(repository, attacker, download=False)
            states[repository] = ""
        except DataError:
            states[repository] = f"{attacker}.{parameter} (hf download {repository}, or {attacker}.download=true)"
    return states


def fingerprint(folder: Path) -> str:
    """Digest a checkpoint by its folder's name (on the hub: the revision), and the names and sizes of its files.

    Args:
        folder: of the checkpoint.

    Returns:
        16 hexadecimal digits.
    """
    files = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
    return hashlib.sha256(json.dumps([folder.name, files]).encode()).hexdigest()[:16]


def _missing(folder: Path) -> str:
    """Return the first kind of file that a checkpoint lacks, or ""."""
    return next((name for name in _FILES if not any(folder.glob(name))), "")
