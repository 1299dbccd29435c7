"""What the tests of data sets share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import pytest

from bench import plugins


@pytest.fixture(scope="package", autouse=True)
def _chorales_read_once() -> Iterator[None]:
    """Read each score of the chorales once: a set of rolls needs hundreds of them, and several tests load such sets.

    A read gives no other piece on repetition (the conformance kit loads every split twice), and nothing changes one.
    """
    module = sys.modules[plugins.load("datasets", "chorales").__module__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_read", functools.cache(module.__dict__["_read"]))
        yield
