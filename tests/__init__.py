"""Tests mirror the tree; what several of them share is imported as `tests.*`."""
