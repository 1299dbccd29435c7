"""What tests share that start processes of their own."""

from __future__ import annotations

import os


def use_one_processor() -> None:
    """Bind this process, and what it starts, to one processor: given to `subprocess` as `preexec_fn`.

    A run then starts no workers, each of which would import torch: that costs more than the small trials of the tests.
    """
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[os.getpid() % len(processors)]})
