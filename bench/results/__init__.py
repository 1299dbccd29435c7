"""What records say: cells, statistics, tables and boards. Nothing here trains a model or loads a plugin."""
