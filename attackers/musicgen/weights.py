"""Find and load MusicGen's weights: the shipped ones, Meta's from the Hugging Face cache, or a user's folder.

A checkpoint is what Transformers' `save_pretrained` writes: `config.json` and `*.safetensors`. Nothing pickled is read.
A folder without a tokenizer has a text encoder that reads bytes (ByT5 needs no vocabulary file); ours is one.
"""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from bench.errors import DataError
from bench.training import checkpoints
from bench.training.learning import seeded

TINY = Path(__file__).parent / "tiny"
HUB = {name: f"facebook/musicgen-{name}" for name in ("small", "medium", "melody")}


def folder(size: str, path: str, download: bool) -> Path:
    """Find the folder of a checkpoint.

    Raises:
        DataError: It is missing; the message says where it was looked for and how to get it.
    """
    if path:
        return checkpoints.require_checkpoint(Path(path).expanduser(), "musicgen", "attacker.path")
    if size == "tiny":
        return checkpoints.require_checkpoint(TINY, "musicgen", "the installation of bench")
    return checkpoints.from_hub(HUB[size], "musicgen", download=download, more=("spiece.model",))


def load(checkpoint: Path, rng: Generator) -> Any:
    """Load a checkpoint in float32 and evaluation mode, with codec and text encoder frozen.

    The shipped one is read once a process and copied, since every stage of a small job loads it.

    Args:
        checkpoint: The checkpoint's folder.
        rng: Seeds the initialisation that Transformers draws before it loads.

    Raises:
        DataError: The checkpoint cannot be read, or its codec is stereo or chunked.
    """
    with seeded(rng):  # Transformers initialises before it loads
        return copy.deepcopy(_shipped()) if checkpoint == TINY else _read(checkpoint)


@functools.cache
def _shipped() -> Any:
    """Read the shipped checkpoint, of which no weight is missing that a generator would draw."""
    return _read(TINY)


def _read(checkpoint: Path) -> Any:
    """Read a checkpoint, see `load`."""
    from safetensors import SafetensorError

    kind = config(checkpoint).get("model_type")
    with _quiet():
        try:
            model = _class(checkpoint, kind).from_pretrained(
                checkpoint, use_safetensors=True, local_files_only=True, dtype=torch.float32
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise DataError(f"musicgen: the checkpoint in {checkpoint} cannot be read: {reason}") from error
    codec = model.config.audio_encoder
    if model.config.decoder.audio_channels != 1 or codec.normalize or codec.chunk_length_s is not None:
        raise DataError(
            f"musicgen: {checkpoint} has a stereo or chunked codec, expected a mono one such as musicgen-small's"
        )
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    return model.eval()


def inventory() -> dict[str, str]:
    """Return "" for each checkpoint in the Hugging Face cache, else what its absence disables."""
    return checkpoints.inventory({repository: f"size={size}" for size, repository in HUB.items()}, "musicgen")


@functools.lru_cache(maxsize=4)
def tokenizer(checkpoint: Path) -> Any:
    """Load the tokenizer of a checkpoint's text encoder."""
    if (checkpoint / "tokenizer_config.json").is_file():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer

    return ByT5Tokenizer()


@functools.lru_cache(maxsize=4)
def config(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's `config.json`. Raises `DataError` where it is not JSON."""
    try:
        content: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"musicgen: {checkpoint / 'config.json'} is not JSON: {error}") from error
    return content


def _class(checkpoint: Path, kind: Any) -> Any:
    """Return the class of Transformers for a type of model. Raises `DataError` for another type."""
    if kind == "musicgen":
        from transformers.models.musicgen.modeling_musicgen import MusicgenForConditionalGeneration

        return MusicgenForConditionalGeneration
    if kind == "musicgen_melody":
        from transformers.models.musicgen_melody.modeling_musicgen_melody import MusicgenMelodyForConditionalGeneration

        return MusicgenMelodyForConditionalGeneration
    raise DataError(f"musicgen: {checkpoint} holds a model of type {kind!r}, expected 'musicgen' or 'musicgen_melody'")


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
