"""File formats of artefacts: clips as FLAC, rolls and models as safetensors, everything else as JSON.

Clips are written as 16-bit PCM and rolls with whole MIDI velocities, one a note, because that is what a musician
publishes and a scraper downloads: noise below that resolution is lost, as it would be in practice. All clips of a set
are one file, end to end, because thousands of small files are slow.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Clips, Data, Rolls
from bench.errors import DataError
from bench.files import require_space, write_json
from bench.notes.velocities import sustained
from bench.vocabulary import PerDomain

_MAX_CHANNELS = 8  # FLAC's own limit


def save_data(folder: Path, data: Data) -> None:
    """Write a set into a folder.

    Args:
        folder: An existing folder.
        data: The set. Audio is rounded to 16 bits, velocities to whole MIDI velocities.

    Raises:
        DataError: The audio has more channels than FLAC can hold.
    """
    common = {
        "domain": data.domain,
        "ids": data.ids,
        "groups": data.groups,
        "lengths": data.lengths.tolist(),
        "labels": None if data.labels is None else data.labels.tolist(),
        "classes": data.classes,
        "texts": data.texts,
    }
    specific = _WRITE.of(data)(folder, data)
    write_json(folder / "set.json", {**common, **specific})


def load_data(folder: Path, device: torch.device | str = "cpu") -> Data:
    """Read a set that `save_data` wrote.

    Args:
        folder: The folder.
        device: Where the tensors go.

    Returns:
        The set.

    Raises:
        DataError: An audio file is shorter or longer than the set says.
    """
    about = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    common: dict[str, Any] = {
        "ids": tuple(about["ids"]),
        "groups": tuple(about["groups"]),
        "lengths": torch.tensor(about["lengths"], dtype=torch.int64),
        "labels": None if about["labels"] is None else torch.tensor(about["labels"], dtype=torch.int64),
        "classes": tuple(about["classes"]),
        "texts": tuple(about["texts"]),
    }
    data: Data = _READ[about["domain"]](folder, about, common)
    return data.to(device)


def _write_clips(folder: Path, clips: Clips) -> dict[str, Any]:
    _write_flac(folder / "audio.flac", clips.audio, clips.rate)
    if clips.stems is not None:
        for index in range(clips.stems.shape[1]):
            _write_flac(folder / f"stem-{index}.flac", clips.stems[:, index], clips.rate)
    return {"rate": clips.rate, "shape": list(clips.audio.shape), "stem_names": clips.stem_names}


def _write_rolls(folder: Path, rolls: Rolls) -> dict[str, Any]:
    legal = sustained(rolls, (rolls.velocity * 127).round().clamp(1, 127))
    tensors = {"velocity": legal.velocity.to(torch.uint8), "onset": legal.onset, "tempo": rolls.tempo}
    _write_tensors(folder / "rolls.safetensors", tensors)
    return {
        "programs": rolls.programs,
        "tracks": rolls.tracks,
        "steps_per_beat": rolls.steps_per_beat,
        "beats_per_bar": rolls.beats_per_bar,
        "lowest": rolls.lowest,
    }


def _read_clips(folder: Path, about: Mapping[str, Any], common: Mapping[str, Any]) -> Clips:
    names, shape = tuple(about["stem_names"]), about["shape"]
    stems = [_read_flac(folder / f"stem-{index}.flac", shape) for index in range(len(names))]
    audio = _read_flac(folder / "audio.flac", shape)
    stacked = torch.stack(stems, dim=1) if stems else None
    return Clips(audio=audio, rate=about["rate"], stems=stacked, stem_names=names, **common)


def _read_rolls(folder: Path, about: Mapping[str, Any], common: Mapping[str, Any]) -> Rolls:
    tensors = read_tensors(folder / "rolls.safetensors")
    stored = tensors["velocity"]
    return Rolls(
        velocity=stored if stored.is_floating_point() else stored.to(torch.float32) / 127,
        onset=tensors["onset"],
        tempo=tensors["tempo"],
        programs=tuple(about["programs"]),
        tracks=tuple(about["tracks"]),
        steps_per_beat=about["steps_per_beat"],
        beats_per_bar=about["beats_per_bar"],
        lowest=about["lowest"],
        **common,
    )


_WRITE: PerDomain[Callable[[Path, Any], dict[str, Any]]] = PerDomain(audio=_write_clips, midi=_write_rolls)
_READ: PerDomain[Callable[[Path, Mapping[str, Any], Mapping[str, Any]], Data]] = PerDomain(
    audio=_read_clips, midi=_read_rolls
)


def save_model(folder: Path, model: nn.Module, base: nn.Module) -> None:
    """Write the tensors in which a model differs from its base.

    Frozen parts, such as a pretrained codec, are thus not stored with every arm.

    Args:
        folder: An existing folder.
        model: The trained model.
        base: The same model before training.
    """
    base_state = base.state_dict()
    learned = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
        if name not in base_state
        or base_state[name].shape != value.shape
        or not torch.equal(base_state[name].cpu(), value.cpu())
    }
    _write_tensors(folder / "model.safetensors", learned)


def load_model(folder: Path, base: nn.Module) -> nn.Module:
    """Load the tensors that `save_model` wrote into the base model.

    Args:
        folder: The folder.
        base: The model before training; changed in place.

    Returns:
        The base model with the learned tensors.

    Raises:
        DataError: The saved tensors do not fit the base.
    """
    learned = read_tensors(folder / "model.safetensors")
    _, unexpected = base.load_state_dict(learned, strict=False)
    if unexpected:
        raise DataError(
            f"{folder}: the file has a parameter '{unexpected[0]}' that the model lacks: it was saved from another "
            f"architecture; remove the folder, and the model is trained again"
        )
    return base


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: The file.

    Returns:
        Name -> tensor, on the CPU.
    """
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    require_space(path, sum(value.numel() * value.element_size() for value in tensors.values()))
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)


def _write_flac(path: Path, audio: Tensor, rate: int) -> None:
    """Write audio [clip, channel, sample] as one file, clips end to end, rounded to 16 bits."""
    import soundfile

    clips, channels, samples = audio.shape
    if channels > _MAX_CHANNELS:
        raise DataError(f"the audio has {channels} channels, expected at most {_MAX_CHANNELS}: mix them down")
    frames = audio.detach().cpu().permute(0, 2, 1).reshape(clips * samples, channels).numpy()
    pcm = np.clip(np.rint(frames * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()  # encoded in memory, since libsndfile says only "System error." of a full disk
    soundfile.write(buffer, pcm, rate, subtype="PCM_16", format="FLAC")
    require_space(path, buffer.getbuffer().nbytes)
    path.write_bytes(buffer.getbuffer())


def _read_flac(path: Path, shape: list[int]) -> Tensor:
    import soundfile

    clips, channels, samples = shape
    pcm, _ = soundfile.read(path, dtype="int16", always_2d=True)
    if pcm.shape != (clips * samples, channels):
        raise DataError(
            f"{path} holds {pcm.shape[0]} frames of {pcm.shape[1]} channels, expected {clips * samples} of {channels}: "
            f"remove its folder, and it is made again"
        )
    frames = torch.from_numpy(pcm).reshape(clips, samples, channels)
    return (frames.permute(0, 2, 1).to(torch.float32) / 32768.0).contiguous()
