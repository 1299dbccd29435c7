"""cloakbench: a benchmark for unlearnable audio and music.

A defense claims "AI cannot learn from this"; `bench` trains attackers on its output and scores what they learn. The
contract for plugins is in `bench.api`, the engine in `bench.trials`, results in `bench.results`, the command in
`bench.commands`. In Python:

    results = bench.run(defense="noise", attacker="m5", preset="smoke")
    print(results)
    frame = bench.load_results("digits").to_pandas()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.results.results import Results, load_results
    from bench.session import run

__all__ = ["Results", "__version__", "load_results", "run"]

__version__ = "0.1.0"

_MODULES = {"Results": "bench.results.results", "load_results": "bench.results.results", "run": "bench.session"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `import bench` imports nothing else."""
    if name not in _MODULES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
