"""Does it still hold? Scores beside an accepted baseline; a stranger's records beside themselves and a second run."""
