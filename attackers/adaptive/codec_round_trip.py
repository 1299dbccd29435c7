"""A neural codec: every clip is encoded as EnCodec's tokens and decoded before training.

A codec that was trained on clean sound has no codes for a perturbation, and its codes are all that a token model reads.
By default the codec is the small one that is shipped with the attacker musicgen (16 kHz, 1.6 kbit/s). It was trained
for a spectral loss on rendered music, keeps no phase (its SNR on the test clips of `composers` is -0.7 dB), and is a
stand-in. Meta's `facebook/encodec_24khz` or a folder of one's own is another `source`.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from bench import plugins
from bench.api import Adaptation, Clips, Needs, check_range
from bench.errors import DataError
from bench.sound.recoding import at_rate
from bench.training import checkpoints

_SHIPPED = Path("attackers", "musicgen", "tiny")  # below the folder of the plugins
_PART = "audio_encoder"  # of a checkpoint of MusicGen
_TOGETHER = 4  # channels coded at once


@dataclass(frozen=True)
class CodecRoundTrip(Adaptation[Clips]):
    """Encode clips by a neural codec, and decode them. Each channel is coded by itself, at the codec's rate.

    Attributes:
        codebooks: number of residual codebooks that are kept: fewer keep less of the clip and of what was added to it;
            0: all of them.
        source: "" for the codec that is shipped; or a folder written by `save_pretrained`, or a repository in the
            Hugging Face cache, with a mono EnCodec or MusicGen. Nothing is downloaded.

    Raises:
        DataError: when applied, there is no codec at `source`, or it is not such a one.
    """

    domains = ("audio",)
    preprocess = True
    aligned = False  # a codec that was trained for a spectral loss keeps no phase
    needs = Needs(cpus=1, memory_gb=3.0)
    paper = "Défossez et al. 2022, arXiv:2210.13438 (High Fidelity Neural Audio Compression)"

    codebooks: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        check_range(self, "codebooks", least=0)

    def fingerprint(self) -> str:
        """Digest the codec's files by their names and sizes; "" if it is not here."""
        try:
            return checkpoints.fingerprint(_folder(self.source))
        except DataError:
            return ""

    def inventory(self) -> dict[str, str]:
        """Say whether the codec is here."""
        try:
            _folder(self.source)
        except DataError as error:
            return {self.source or "the shipped codec": str(error)}
        return {self.source or "the shipped codec": ""}

    def transform(self, data: Clips, rng: Generator) -> Clips:
        codec = _codec(_folder(self.source)).to(data.device)
        most = len(codec.quantizer.layers)
        if self.codebooks > most:
            raise DataError(f"codec_round_trip: codebooks = {self.codebooks}, this codec has {most}")
        kept = self.codebooks or most

        def coded(audio: Tensor, lengths: Tensor) -> Tensor:
            flat = audio.flatten(0, 1)[:, None]
            back = torch.cat([_round_trip(codec, part, kept) for part in flat.split(_TOGETHER)])
            return back.view(audio.shape)

        with torch.no_grad():
            return at_rate(data, codec.config.sampling_rate, coded)


def _round_trip(codec: Any, audio: Tensor, kept: int) -> Tensor:
    """Encode and decode [clip, 1, sample] with the first `kept` codebooks."""
    samples = audio.shape[-1]
    hop = codec.config.hop_length
    padded = torch.nn.functional.pad(audio, (0, -samples % hop + hop))  # the padding of EnCodec needs two frames
    rest = codec.encoder(padded)
    quantised = torch.zeros_like(rest)
    for layer in codec.quantizer.layers[:kept]:
        entries = layer.decode(layer.encode(rest))
        quantised, rest = quantised + entries, rest - entries
    decoded: Tensor = codec.decoder(quantised)[..., :samples]
    return decoded


def _folder(source: str) -> Path:
    """Return the folder of a codec. Raise `DataError` where there is none."""
    if not source:
        return checkpoints.require_checkpoint(
            plugins.home() / _SHIPPED, "codec_round_trip", "the installation of bench"
        )
    folder = Path(source).expanduser()
    if folder.is_dir():
        return checkpoints.require_checkpoint(folder, "codec_round_trip", "source")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return checkpoints.require_checkpoint(
            Path(snapshot_download(source, local_files_only=True)), "codec_round_trip", "source"
        )
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"codec_round_trip: source = '{source}' is no folder, and no repository in the Hugging Face cache; "
            f"run `hf download {source}`, or leave source empty for the shipped codec"
        ) from error


@functools.lru_cache(maxsize=2)
def _codec(folder: Path) -> Any:
    """Load the codec of a folder in float32 and evaluation mode. Raise `DataError` where it holds none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import EncodecConfig, EncodecModel

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = {
            key: value for file in sorted(folder.glob("*.safetensors")) for key, value in load_file(file).items()
        }
    except (ValueError, OSError, SafetensorError) as error:
        raise DataError(f"codec_round_trip: {folder} cannot be read: {' '.join(str(error).split())}") from error
    config = config.get(_PART, config)
    if config.get("model_type") != "encodec" or config.get("audio_channels") != 1 or config.get("normalize"):
        raise DataError(f"codec_round_trip: {folder} holds a {config.get('model_type')!r}, expected a mono EnCodec")
    prefix = f"{_PART}."
    part = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
    state = part or {key: value.float() for key, value in weights.items()}
    with torch.random.fork_rng(devices=[]):  # the layers are initialised before the weights replace what was drawn
        codec: Any = EncodecModel(EncodecConfig(**config))
    try:
        codec.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"codec_round_trip: the weights in {folder} do not fit its config.json") from error
    return codec.requires_grad_(False).eval()
