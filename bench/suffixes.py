"""Endings of file names, for commands that must tell kinds of files apart before torch is imported.

`bench.notes.midi` and `bench.sound.encoding` define them for plugins, whose digests their source is part of; a test
holds these here to those.
"""

from __future__ import annotations

__all__ = ["MIDI_SUFFIXES", "SOUND_SUFFIXES"]

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".smf")
SOUND_SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav")  # that can be written
