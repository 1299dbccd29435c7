"""What notes are: MIDI files, piano rolls, edits of them, and their sound. Knows nothing of trials."""
