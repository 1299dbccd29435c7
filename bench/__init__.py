"""cloakbench: a benchmark for unlearnable audio and music.

A defense claims "AI cannot learn from this"; `bench` trains attackers on its output and scores what they learn. The
contract for plugins is in `bench.api`, the engine in `bench.trials`, results in `bench.results`, the command in
`bench.commands`.
"""

__version__ = "0.1.0"
