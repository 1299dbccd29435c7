"""Regression gate: measured results against an accepted baseline, reported as verdicts and as JUnit XML."""
