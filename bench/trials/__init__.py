"""How work is named, found again and done: trials become a plan of stages over a store of artefacts."""
