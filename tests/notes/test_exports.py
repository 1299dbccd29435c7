"""What `bench.notes` and `bench.metrics` offer to plugins."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import bench.metrics
import bench.notes

PACKAGES = [bench.notes, bench.metrics]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_is_exported_is_what_is_offered(package: ModuleType) -> None:
    offered = {
        name for name, value in vars(package).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(package.__all__) == offered - {"annotations"}
    assert len(package.__all__) == len(set(package.__all__))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_is_exported_says_what_it_takes(package: ModuleType) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isfunction(value) and inspect.signature(value).parameters:
            doc = inspect.getdoc(value) or ""
            assert "Args:" in doc, f"{package.__name__}.{name} does not describe its arguments"
