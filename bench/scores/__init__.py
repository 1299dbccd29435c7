"""What records mean: statistics, tables, gates. Nothing here trains or loads a plugin."""
