"""Read sparse piano rolls as pypianoroll saves them (.npz), with numpy alone and without unpickling.

A file has, for each of its tracks, the four arrays of a compressed sparse column matrix [step, 128 pitches] of
velocities (`pianoroll_0_csc_data`, `_indices`, `_indptr`, `_shape`), the tempo and usually the down-beats by step, and
`info.json`: beat_resolution, and for each track its program and whether it is drums. Claimed sizes are compared with
the content before memory is allocated.

Dong, Hsiao, Yang, "Pypianoroll: Open Source Python Package for Handling Multitrack Pianoroll", ISMIR 2018.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import DataError
from bench.notes.midi import DRUMS
from bench.notes.rolls import Notes

__all__ = ["PianoRolls", "read_pianorolls"]

LARGEST = 64 << 20  # bytes of a file, and of what it unpacks to
LONGEST = 1 << 15  # beats
PITCHES = 128
DEFAULT_TEMPO = 120.0

_Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class PianoRolls:
    """The notes of a file. Adjacent cells of one pitch and velocity are one note, since the format has no onsets.

    Attributes:
        notes: of roll 0, with the tracks and steps of the file.
        programs: one a track, 128 for drums.
        steps_per_beat: steps a quarter note.
        downbeat: the step of the first down-beat that is stated, else 0.
        tempo: beats a minute, the mean that keeps the duration; MIDI's default, 120, where none is stated.
    """

    notes: Notes  # roll 0, the file's tracks and steps
    programs: tuple[int, ...]  # one a track, 128 = drums
    steps_per_beat: int
    downbeat: int  # the step of the first one that is stated, else 0
    tempo: float  # beats a minute: the mean that keeps the duration, MIDI's own 120 where none is stated


def read_pianorolls(path: str | Path) -> PianoRolls:
    """Read one file.

    Args:
        path: an .npz file as pypianoroll saves it.

    Returns:
        Its notes, programs and tempo.

    Raises:
        DataError: the file is damaged, too large, without notes, or holds pickled objects.
    """
    file = Path(path)
    arrays, info = _unpacked(file)
    resolution = info.get("beat_resolution")
    if not isinstance(resolution, int) or not 1 <= resolution <= 960:
        raise DataError(f"{file}: beat_resolution is {resolution!r}, expected a whole number such as 24")
    programs: list[int] = []
    columns: list[Tensor] = []
    while isinstance(about := info.get(str(len(programs))), dict):
        number, program = len(programs), about.get("program", 0)
        if not isinstance(program, int) or not 0 <= program <= 127:
            raise DataError(f"{file}: the program of track {number} is {program!r}, expected 0..127")
        programs.append(DRUMS if about.get("is_drum") else program)
        columns.append(_runs(_cells(file, arrays, f"pianoroll_{number}_csc_", LONGEST * resolution), number))
    rows = torch.cat([torch.zeros(0, 5, dtype=torch.int64), *columns])
    if not len(rows):
        raise DataError(f"{file}: no notes in its {len(programs)} tracks, expected at least one")
    track, start, end, pitch, velocity = rows.unbind(1)
    notes = Notes(torch.zeros_like(track), track, start, end - start, pitch, velocity / 127)
    stated = arrays.get("downbeat")
    first = int(np.flatnonzero(stated)[0]) if stated is not None and stated.ndim == 1 and stated.any() else 0
    return PianoRolls(notes, tuple(programs), resolution, first, _tempo(arrays.get("tempo")))


def _unpacked(file: Path) -> tuple[_Arrays, dict[str, Any]]:
    """Return the arrays and the description. Unpickle nothing, and unpack no more than `LARGEST` bytes."""
    if not file.is_file():
        raise DataError(f"{file}: there is no such file, expected piano rolls in .npz")
    if file.stat().st_size > LARGEST:
        raise DataError(f"{file}: {file.stat().st_size} bytes, expected at most {LARGEST}")
    arrays: _Arrays = {}
    info: Any = None
    bytes_left = LARGEST
    try:
        with zipfile.ZipFile(file) as members:
            for member in members.infolist():
                with members.open(member) as packed:
                    data = packed.read(bytes_left + 1)
                bytes_left -= len(data)
                if bytes_left < 0:
                    raise DataError(f"{file}: the file unpacks to more than {LARGEST} bytes, expected at most that")
                if member.filename == "info.json":
                    info = json.loads(data)
                elif member.filename.endswith(".npy"):
                    arrays[member.filename.removesuffix(".npy")] = _array(data)
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: not an .npz file that pypianoroll saved ({reason})") from error
    if not isinstance(info, dict):
        raise DataError(f"{file}: the file has no info.json, expected one that pypianoroll saved")
    return arrays, info


def _array(data: bytes) -> np.ndarray[Any, Any]:
    """Read one .npy array without objects in it, never larger than its bytes. Raise `ValueError` otherwise."""
    text = io.BytesIO(data)
    if (kind := np.lib.format.read_magic(text)) != (1, 0):
        raise ValueError(f"an array of the format {kind}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(text)
    if dtype.hasobject:
        raise ValueError("an array holds pickled objects, which are never loaded")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != len(data) - text.tell():
        raise ValueError(f"an array of shape {shape} has {len(data) - text.tell()} bytes")
    return np.frombuffer(data, dtype, offset=text.tell()).reshape(shape, order="F" if fortran else "C")


def _cells(file: Path, arrays: _Arrays, prefix: str, longest: int) -> Tensor:
    """Return the sounding cells of a sparse roll in order, int64 [cell, 3]: pitch, step, velocity 1..127."""
    try:
        data, indices, bounds, shape = (arrays[prefix + name] for name in ("data", "indices", "indptr", "shape"))
    except KeyError as error:
        raise DataError(f"{file}: no array {error.args[0]}, expected a sparse roll as pypianoroll saves it") from None
    flat = all(array.ndim == 1 and array.dtype.kind in "bui" for array in (data, indices, bounds, shape))
    if not flat or len(shape) != 2 or int(shape[1]) != PITCHES or not 0 <= int(shape[0]) <= longest:
        raise DataError(
            f"{file}: {prefix}shape is {shape.tolist()}, expected at most {longest} steps of {PITCHES} pitches"
        )
    bounds, steps = bounds.astype(np.int64), indices.astype(np.int64)
    counts = bounds[1:] - bounds[:-1]
    sound = (
        len(bounds) == PITCHES + 1 and bounds[0] == 0 and bounds[-1] == len(data) == len(steps) and (counts >= 0).all()
    )
    if not sound or (len(steps) and not 0 <= steps.min() <= steps.max() < int(shape[0])):
        raise DataError(f"{file}: {prefix}indices and indptr do not fit {len(data)} cells in {int(shape[0])} steps")
    velocity = data.astype(np.int64) * (127 if data.dtype == bool else 1)
    rows = torch.from_numpy(np.stack([np.repeat(np.arange(PITCHES), counts), steps, velocity.clip(0, 127)], 1))
    rows = rows[rows[:, 2] > 0]
    return rows[(rows[:, 0] * (longest + 1) + rows[:, 1]).argsort()]


def _runs(cells: Tensor, track: int) -> Tensor:
    """Join adjacent cells of one velocity to notes, int64 [note, 5]: track, start, end, pitch, velocity."""
    same = (cells[1:, [0, 2]] == cells[:-1, [0, 2]]).all(1) & (cells[1:, 1] == cells[:-1, 1] + 1)
    first = torch.cat([torch.ones(min(1, len(cells)), dtype=torch.bool), ~same]).nonzero().flatten()
    last = torch.cat([first[1:], torch.tensor([len(cells)])])[: len(first)] - 1
    start = cells[first]
    return torch.stack([torch.full_like(first, track), start[:, 1], cells[last, 1] + 1, start[:, 0], start[:, 2]], 1)


def _tempo(stated: Any) -> float:
    """Return beats a minute: the mean that keeps the duration, or MIDI's default where none is stated."""
    if stated is None or stated.dtype.kind not in "uif" or not stated.size:
        return DEFAULT_TEMPO
    usable = stated[np.isfinite(stated) & (stated > 0)].astype(np.float64)
    return float(1 / np.mean(1 / usable)) if usable.size else DEFAULT_TEMPO
