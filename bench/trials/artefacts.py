"""What artefacts hold: sets of clips as FLAC, sets of rolls and models as safetensors, everything else as JSON.

Clips are written as 16-bit PCM, rolls as a MIDI file holds them (whole velocities, one a note): what a musician
publishes and a scraper finds. A defense whose noise does not survive that has no noise. All clips of a set are one
file, end to end, since thousands of small files are slow.
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
    """Write a set into a folder."""
    common = {
        "domain": data.domain,
        "ids": data.ids,
        "groups": data.groups,
        "lengths": data.lengths.tolist(),
        "labels": None if data.labels is None else data.labels.tolist(),
        "classes": data.classes,
        "texts": data.texts,
    }
    own = _WRITE.of(data)(folder, data)
    write_json(folder / "set.json", {**common, **own})


def load_data(folder: Path, device: torch.device | str = "cpu") -> Data:
    """Read a set that `save_data` wrote."""
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
    """Write the tensors in which a model differs from its base, so that a frozen codec is not stored with every arm."""
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
    """The base with what was learned laid over it. Raises `DataError` where the two do not fit."""
    learned = read_tensors(folder / "model.safetensors")
    _, unexpected = base.load_state_dict(learned, strict=False)
    if unexpected:
        raise DataError(
            f"{folder}: the model has no parameter '{unexpected[0]}': it was saved from another architecture"
        )
    return base


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    require_space(path, sum(value.numel() * value.element_size() for value in tensors.values()))
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)


def _write_flac(path: Path, audio: Tensor, rate: int) -> None:
    """audio [clip, channel, sample] end to end, rounded to 16 bits."""
    import soundfile

    clips, channels, samples = audio.shape
    if channels > _MAX_CHANNELS:
        raise DataError(f"{channels} channels, expected at most {_MAX_CHANNELS}: mix them down")
    frames = audio.detach().cpu().permute(0, 2, 1).reshape(clips * samples, channels).numpy()
    whole = np.clip(np.rint(frames * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()  # encoded in memory, since libsndfile says only "System error." of a full disk
    soundfile.write(buffer, whole, rate, subtype="PCM_16", format="FLAC")
    require_space(path, buffer.getbuffer().nbytes)
    path.write_bytes(buffer.getbuffer())


def _read_flac(path: Path, shape: list[int]) -> Tensor:
    import soundfile

    clips, channels, samples = shape
    whole, _ = soundfile.read(path, dtype="int16", always_2d=True)
    if whole.shape != (clips * samples, channels):
        raise DataError(f"{path} holds {whole.shape[0]} frames, expected {clips * samples}")
    frames = torch.from_numpy(whole).reshape(clips, samples, channels)
    return (frames.permute(0, 2, 1).to(torch.float32) / 32768.0).contiguous()
