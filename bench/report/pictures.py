"""Pictures of one item, clean and protected: waveforms and spectrograms, or a piano roll, and what differs.

PNG by Matplotlib, transparent, with grey ink that is read on white and on black. Colour is never the only sign: the
panels are titled, and notes that were added, lost or changed differ in shape as well.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from bench.api import Clips, Rolls
from bench.notes.rolls import DRUMS, notes_of

__all__ = ["RECORDINGS", "ROLLS", "recordings", "rolls"]

RECORDINGS = (
    "Waveforms above, spectrograms below (dB, one scale for all three): the clean recording, the protected one, and "
    "their difference."
)
ROLLS = (
    "Piano roll of the protected piece. Grey bars: notes as they were. Filled orange bars with a frame: added. Hollow "
    "dashed bars: lost. Striped bars: the velocity changed."
)
_INK = "#7d838b"
_STYLE: Any = {
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10,
    "hatch.linewidth": 0.6,
}
_FLOOR_DB = -80.0
_MOST_SECONDS = 12.0


def recordings(clean: Clips, protected: Clips) -> bytes:
    """Draw the clean recording, the protected one and their difference: waveform over spectrogram.

    Args:
        clean: A set of one clip.
        protected: The same clip, protected.

    Returns:
        A PNG file.
    """
    import matplotlib as mpl

    length = min(int(clean.lengths[0]), int(_MOST_SECONDS * clean.rate))
    clean_wave, protected_wave = (clips.audio[0].mean(0)[:length].numpy() for clips in (clean, protected))
    panels = {"clean": clean_wave, "protected": protected_wave, "difference": protected_wave - clean_wave}
    window = max(64, 2 ** int(np.log2(clean.rate * 0.032)))
    peak = max(float(np.abs(clean_wave).max()), float(np.abs(protected_wave).max()), 1e-6)
    top = float(_spectrogram(clean_wave, window).max())
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(7.2, 3.4, 2, 3, [1, 2])
        seconds = np.arange(length) / clean.rate
        for at, (title, wave) in enumerate(panels.items()):
            axes[0, at].plot(seconds, wave, color="#3f8fc4", linewidth=0.5)
            axes[0, at].set_ylim(-peak, peak)
            axes[0, at].set_title(title)
            axes[0, at].set_xticks([])
            image = axes[1, at].imshow(
                np.maximum(_spectrogram(wave, window) - top, _FLOOR_DB), origin="lower", aspect="auto", cmap="cividis",
                vmin=_FLOOR_DB, vmax=0, extent=(0, length / clean.rate, 0, clean.rate / 2000), interpolation="nearest",
            )  # fmt: skip
            axes[1, at].set_xlabel("seconds")
        axes[1, 0].set_ylabel("kHz")
        figure.colorbar(image, ax=axes[1, :], label="dB", fraction=0.02)
        return _png(figure)


def rolls(clean: Rolls, protected: Rolls) -> bytes:
    """Draw the notes of a piece over time and pitch, with those marked that a defense changed.

    Args:
        clean: A set of one roll.
        protected: The same roll, protected.

    Returns:
        A PNG file.
    """
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    with mpl.rc_context(_STYLE):
        figure, axes = _grid(6.4, 3.0, 1, 1, [1])
        panel = axes[0, 0]
        clean_notes, protected_notes = _notes(clean), _notes(protected)
        pitches = [note[1] for note in (*clean_notes, *protected_notes)] or [60]
        last = max(
            (note[0] + length for notes in (clean_notes, protected_notes) for note, (length, _) in notes.items()),
            default=1,
        )
        for note in clean_notes.keys() | protected_notes.keys():
            start, pitch, _ = note
            length, velocity = protected_notes.get(note) or clean_notes[note]
            if note not in clean_notes:
                look: dict[str, Any] = {"facecolor": "#E69F00", "edgecolor": "#9a5b00", "linewidth": 1.0}
            elif note not in protected_notes:
                look = {"facecolor": "none", "edgecolor": "#D55E00", "linestyle": "--", "linewidth": 1.0}
            elif abs(velocity - clean_notes[note][1]) > 0.5 / 127:
                look = {"facecolor": "#56B4E9", "edgecolor": "#1b5f8a", "hatch": "////", "linewidth": 0.6}
            else:
                look = {"facecolor": _INK, "edgecolor": "none", "alpha": 0.4 + 0.5 * velocity}
            panel.add_patch(Rectangle((start, pitch - 0.4), max(length, 1) * 0.92, 0.8, **look))
            if (
                note in clean_notes and note in protected_notes and length > clean_notes[note][0]
            ):  # held longer: the rest was added
                old_length = clean_notes[note][0]
                panel.add_patch(
                    Rectangle(
                        (start + old_length, pitch - 0.4),
                        length - old_length,
                        0.8,
                        facecolor="#E69F00",
                        edgecolor="#9a5b00",
                    )
                )
        panel.set_xlim(0, last)
        panel.set_ylim(min(pitches) - 2, max(pitches) + 2)
        bar = clean.steps_per_beat * clean.beats_per_bar
        panel.set_xticks(range(0, int(last) + 1, bar), [str(1 + at) for at in range(int(last) // bar + 1)])
        panel.set_xlabel("bar")
        panel.set_ylabel("MIDI pitch")
        panel.grid(axis="x", color=_INK, alpha=0.25, linewidth=0.6)
        return _png(figure)


def _notes(data: Rolls) -> dict[tuple[int, int, int], tuple[int, float]]:
    """Return (start, pitch, track) -> (duration, velocity), without drums, whose pitches are instruments."""
    notes = notes_of(data.to("cpu"))
    drums = [program == DRUMS for program in data.programs]
    rows = zip(
        *(values.tolist() for values in (notes.start, notes.pitch, notes.track, notes.duration, notes.velocity)),
        strict=True,
    )
    return {
        (start, pitch, track): (duration, velocity)
        for start, pitch, track, duration, velocity in rows
        if not drums[track]
    }


def _spectrogram(wave: np.ndarray[Any, np.dtype[np.float32]], window: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the level in dB, [frequency, time], under Hann windows a quarter of a window apart."""
    from scipy.signal import stft

    padded = np.pad(wave, (0, max(0, window - len(wave))))
    _, _, spectrum = stft(padded, nperseg=window, noverlap=window - window // 4)
    level: np.ndarray[Any, np.dtype[np.float64]] = 20 * np.log10(np.abs(spectrum) + 1e-7)
    return level


def _grid(width: float, height: float, rows: int, columns: int, heights: list[int]) -> tuple[Any, Any]:
    """Return a figure with a grid of axes, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights})


def _png(figure: Any) -> bytes:
    """Encode a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True, metadata={"Software": None})
    return buffer.getvalue()
