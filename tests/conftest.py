"""What all tests share: where the real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The data root: $BENCH_DATA, else `../shared/data` beside the checkout. Tests that need it are skipped without."""
    named = os.environ.get("BENCH_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(
            f"no real data: {root} is no folder; set BENCH_DATA to a folder that holds fsdd/, pop909/ or music/"
        )
    return root
