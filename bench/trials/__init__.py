"""The engine: trials become a plan of stages over stored artefacts. `verify` checks records against a second run."""
