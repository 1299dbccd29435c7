"""The endings that commands know without torch are those that files are read and written by."""

from bench import suffixes
from bench.notes.midi import MIDI_SUFFIXES
from bench.sound.encoding import WRITABLE


def test_endings_are_those_of_the_modules_that_read_and_write() -> None:
    assert suffixes.MIDI_SUFFIXES == MIDI_SUFFIXES
    assert tuple(WRITABLE) == suffixes.SOUND_SUFFIXES
