"""Metrics: pure functions from sets to numbers, one a clip where they can be."""
