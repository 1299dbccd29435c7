"""The measures of audibility: names, headings, and the direction in which they grow louder."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AUDIBILITY", "AXES", "CEILINGS", "LEAST_CORRELATION", "Measure", "measure"]


class Measure(NamedTuple):
    """A measure of audibility, as tables show it."""

    name: str  # in records
    heading: str
    form: str  # format specification

    def text(self, value: float) -> str:
        """Return a value with its heading."""
        return f"{self.heading} {format(value, self.form)}"


# The columns of audibility, where the records have them.
AUDIBILITY = (
    Measure("snr_db", "SNR dB", ".1f"),
    Measure("segmental_snr_db", "segmental SNR dB", ".1f"),
    Measure("masked_energy", "audible noise share", ".3f"),
    Measure("pesq", "PESQ", ".2f"),
    Measure("stoi", "STOI", ".3f"),
    Measure("correlation", "noise-signal correlation", "+.2f"),
    Measure("velocity_change", "velocity change", ".1f"),
    Measure("velocity_gain_db", "velocity gain dB", "+.1f"),
    Measure("notes_added", "notes added", ".1%"),
    Measure("notes_removed", "notes removed", ".1%"),
    Measure("notes_altered", "notes altered", ".1%"),
    Measure("sounding_change", "roll cells changed", ".1%"),
)
# A budget limits these from above, and all other measures from below.
CEILINGS = (
    "masked_energy",
    "velocity_change",
    "velocity_peak",
    "velocity_gain_db",
    "notes_added",
    "notes_removed",
    "notes_altered",
    "sounding_change",
)
# The measure on the audibility axis: the first of these that was measured.
AXES = ("snr_db", "notes_added", "sounding_change", "velocity_change")
LEAST_CORRELATION = 0.1  # the least mean correlation of noise and signal, in any row, that is worth a column


def measure(name: str) -> Measure:
    """Return the measure of a name; for a name without a column, one headed by the name itself."""
    return next((entry for entry in AUDIBILITY if entry.name == name), Measure(name, name, ".3g"))
