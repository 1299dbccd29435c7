"""Re-transcription: rolls are rendered to sound and transcribed; inaudible notes are lost.

Every track but drums is rendered by itself and transcribed by Basic Pitch (Bittner et al., "A Lightweight
Instrument-Agnostic Model for Polyphonic Note Transcription and Multipitch Estimation", ICASSP 2022), an optional
package. The attacker has the file, and so its tracks, its tempo and its drums, which stay. Velocities become those that
the transcriber estimates. Slow, since every track of every roll is rendered and analysed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from bench.api import Adaptation, Needs, Rolls, check_range
from bench.errors import UsageError
from bench.notes.note_edits import to_rolls
from bench.notes.render import render
from bench.notes.rolls import DRUMS, Notes, notes_of
from bench.sound.files import write

_RATE = 22_050  # samples a second, Basic Pitch's own
_PACKAGE = "basic-pitch"


@dataclass(frozen=True)
class Transcribe(Adaptation[Rolls]):
    """Transcribe rolls by Basic Pitch.

    Attributes:
        onset: threshold of Basic Pitch for onsets, 0..1.
        frame: threshold of Basic Pitch for frames, 0..1.
        shortest_ms: shortest note, milliseconds.
    """

    domains = ("midi",)
    needs = Needs(memory_gb=4.0)
    paper = "Bittner et al. 2022, ICASSP"

    onset: float = 0.5
    frame: float = 0.3
    shortest_ms: float = 127.7

    def __post_init__(self) -> None:
        check_range(self, "onset", "frame", least=0, most=1)
        check_range(self, "shortest_ms", above=0)

    def inventory(self) -> dict[str, str]:
        """Say whether Basic Pitch is installed."""
        installed = importlib.util.find_spec("basic_pitch") is not None
        return {_PACKAGE: "" if installed else f"the adaptation transcribe (pip install {_PACKAGE})"}

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        """Replace all notes but drums by those that are transcribed from the rendered tracks.

        Raises:
            UsageError: Basic Pitch is not installed.
        """
        transcribe = self._listener()
        rows = [
            row for roll in range(len(data)) for row in self._transcribed_rows(data.select([roll]), roll, transcribe)
        ]
        transcription, notes = Notes.of(rows), notes_of(data.to("cpu"))
        is_drums = torch.tensor([program == DRUMS for program in data.programs])
        parts = (notes[is_drums[notes.track]], transcription)
        columns = (torch.cat([getattr(part, name) for part in parts]) for name in Notes.__dataclass_fields__)
        return to_rolls(Notes(*columns), data.to("cpu")).to(data.device)

    def _listener(self) -> Callable[[Path], Any]:
        """Load Basic Pitch: sound file -> (start, end, pitch, amplitude, bends) of each note, in seconds."""
        if any(self.inventory().values()):
            raise UsageError(f"transcribe needs the package '{_PACKAGE}': pip install {_PACKAGE}")
        library = importlib.import_module("basic_pitch.inference")
        model = library.Model(importlib.import_module("basic_pitch").ICASSP_2022_MODEL_PATH)

        def transcribe(path: Path) -> Any:
            with contextlib.redirect_stdout(io.StringIO()):  # it tells every file
                return library.predict(
                    path, model, onset_threshold=self.onset, frame_threshold=self.frame,
                    minimum_note_length=self.shortest_ms,
                )[2]  # fmt: skip

        return transcribe

    def _transcribed_rows(
        self, rolls: Rolls, number: int, transcribe: Callable[[Path], Any]
    ) -> Iterator[tuple[float, ...]]:
        """Transcribe one roll: rows (roll, track, start, duration, pitch, velocity), in steps, of pitches in range."""
        clips = render(rolls, _RATE)
        assert clips.stems is not None
        step = 60.0 / float(rolls.tempo[0]) / rolls.steps_per_beat
        highest = rolls.lowest + rolls.velocity.shape[3] - 1
        for track, program in enumerate(rolls.programs):
            sound = clips.stems[0, track]
            if program == DRUMS or not sound.any():
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "track.wav"
                write(path, sound, _RATE)
                for begin, end, pitch, amplitude, *_ in transcribe(path):
                    start, duration = round(begin / step), max(1, round((end - begin) / step))
                    if rolls.lowest <= pitch <= highest:
                        yield number, track, start, duration, pitch, min(max(round(127 * amplitude), 1), 127) / 127
