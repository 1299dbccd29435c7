"""Find and load MusicGen's weights: the shipped ones, Meta's from the Hugging Face cache, or a user's folder.

A checkpoint is what Transformers' `save_pretrained` writes: `config.json` and `*.safetensors`. Nothing pickled is read.
A folder without a tokenizer has a text encoder that reads bytes (ByT5 needs no vocabulary file); ours is one.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from bench.errors import DataError
from bench.training.learning import seeded

TINY = Path(__file__).parent / "tiny"
HUB = {name: f"facebook/musicgen-{name}" for name in ("small", "medium", "melody")}


def folder(size: str, path: str, download: bool) -> Path:
    """Find the folder of a checkpoint.

    Raises:
        DataError: It is missing; the message says where it was looked for and how to get it.
    """
    if path:
        return _checked(Path(path).expanduser(), "attacker.path")
    if size == "tiny":
        return _checked(TINY, "the installation of bench")
    return _from_hub(HUB[size], download)


def load(where: Path, rng: Generator) -> Any:
    """Load a checkpoint in float32 and evaluation mode, with codec and text encoder frozen.

    Args:
        where: The checkpoint's folder.
        rng: Seeds the initialisation that Transformers draws before it loads.

    Raises:
        DataError: The checkpoint cannot be read, or its codec is stereo or chunked.
    """
    from safetensors import SafetensorError

    kind = config(where).get("model_type")
    with seeded(rng), _quiet():  # Transformers initialises before it loads
        try:
            model = _class(where, kind).from_pretrained(
                where, use_safetensors=True, local_files_only=True, dtype=torch.float32
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise DataError(f"musicgen: the checkpoint in {where} cannot be read: {reason}") from error
    codec = model.config.audio_encoder
    if model.config.decoder.audio_channels != 1 or codec.normalize or codec.chunk_length_s is not None:
        raise DataError(
            f"musicgen: {where} has a stereo or chunked codec, expected a mono one such as musicgen-small's"
        )
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    return model.eval()


def fingerprint(where: Path) -> str:
    """Digest a checkpoint's folder name and the names and sizes of its files."""
    files = sorted((file.name, file.stat().st_size) for file in where.iterdir() if file.is_file())
    return hashlib.sha256(json.dumps([where.name, files]).encode()).hexdigest()[:16]


def inventory() -> dict[str, str]:
    """Checkpoint -> "" where the Hugging Face cache has it, else what its lack disables."""
    lacks = {}
    for size, repository in HUB.items():
        try:
            _from_hub(repository, download=False)
            lacks[repository] = ""
        except DataError:
            lacks[repository] = f"musicgen.size={size} (hf download {repository}, or musicgen.download=true)"
    return lacks


@functools.lru_cache(maxsize=4)
def tokenizer(where: Path) -> Any:
    """Load the tokenizer of a checkpoint's text encoder."""
    if (where / "tokenizer_config.json").is_file():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(where, local_files_only=True)
    from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer

    return ByT5Tokenizer()


@functools.lru_cache(maxsize=4)
def config(where: Path) -> dict[str, Any]:
    """Read a checkpoint's `config.json`. Raises `DataError` where it is not JSON."""
    try:
        read: dict[str, Any] = json.loads((where / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"musicgen: {where / 'config.json'} is not JSON: {error}") from error
    return read


def _class(where: Path, kind: Any) -> Any:
    if kind == "musicgen":
        from transformers.models.musicgen.modeling_musicgen import MusicgenForConditionalGeneration

        return MusicgenForConditionalGeneration
    if kind == "musicgen_melody":
        from transformers.models.musicgen_melody.modeling_musicgen_melody import MusicgenMelodyForConditionalGeneration

        return MusicgenMelodyForConditionalGeneration
    raise DataError(f"musicgen: {where} holds a model of type {kind!r}, expected 'musicgen' or 'musicgen_melody'")


def _checked(where: Path, named_by: str) -> Path:
    missing = [name for name in ("config.json", "*.safetensors") if not any(where.glob(name))]
    if missing:
        raise DataError(
            f"musicgen: no {missing[0]} in {where} ({named_by}); expected a folder written by save_pretrained"
        )
    return where


def _from_hub(repository: str, download: bool) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    files = ["*.json", "*.safetensors", "spiece.model"]
    try:
        checkpoint = Path(snapshot_download(repository, local_files_only=not download, allow_patterns=files))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise DataError(_missing(repository, constants.HF_HUB_CACHE, download)) from error
    if not any(checkpoint.glob("*.safetensors")):
        raise DataError(_missing(repository, constants.HF_HUB_CACHE, download))
    return checkpoint


def _missing(repository: str, cache: str, download: bool) -> str:
    if download:
        return f"musicgen: {repository} could not be downloaded; fetch it elsewhere and set attacker.path to its folder"
    return (
        f"musicgen: {repository} is not in the Hugging Face cache ({cache}); set attacker.download=true, "
        f"run `hf download {repository}`, or set attacker.path to a folder that holds it"
    )


class _quiet:
    """Keep Transformers' progress bars and loading reports off the terminal."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level, self.bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *error: Any) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()
