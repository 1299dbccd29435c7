"""The names that authors of plugins may rely on: a change of this file is a change of the public face."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import bench.api
from bench.api import Adaptation, Attacker, Dataset, Defense

PACKAGES = ("bench.api", "bench.training", "bench.sound", "bench.notes", "bench.metrics")
API = {
    "Adaptation", "Attacker", "Augment", "Clips", "Control", "Data", "Dataset", "Defense", "DomainName", "Epoch",
    "Knowledge", "Log", "Needs", "Per", "Plugin", "Rolls", "ValidityCheck", "check_range", "concatenate", "silent_log",
}  # fmt: skip
TRAINING = {
    "Budget", "Descent", "Noise", "Schedule", "Scope", "apply_expected_adaptation", "batches", "checkpoints",
    "classification", "cosine", "fit", "frozen", "hardening", "init_surrogates", "min_min", "mislead", "noise_bound",
    "perturb", "seeded", "shifted_labels", "surrogates", "train_surrogates",
}  # fmt: skip


def test_the_contract_and_the_training_helpers_export_these_names_and_no_other() -> None:
    assert set(bench.api.__all__) == API
    assert set(importlib.import_module("bench.training").__all__) == TRAINING


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_exists_and_is_named_once(name: str) -> None:
    package = importlib.import_module(name)
    exported = getattr(package, "__all__", [])
    assert len(exported) == len(set(exported))
    assert not [each for each in exported if not hasattr(package, each)]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_function_and_class_says_what_it_is(name: str) -> None:
    package = importlib.import_module(name)
    for each in getattr(package, "__all__", []):
        value = getattr(package, each)
        if isinstance(value, ModuleType) or inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"{name}.{each} has no docstring"


@pytest.mark.parametrize("name", ["bench.notes", "bench.metrics"])
def test_everything_public_is_exported_and_describes_its_arguments(name: str) -> None:
    package = importlib.import_module(name)
    public = {
        each for each, value in vars(package).items() if not each.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(package.__all__) == public - {"annotations"}
    for each in package.__all__:
        value = getattr(package, each)
        if inspect.isfunction(value) and inspect.signature(value).parameters:
            assert "Args:" in (value.__doc__ or ""), f"{name}.{each} does not describe its arguments"


def test_what_bench_sound_exports_is_its_own_and_hides_no_module() -> None:
    package = importlib.import_module("bench.sound")
    for each in package.__all__:
        value = getattr(package, each)
        assert not callable(value) or value.__module__.startswith("bench.sound."), each
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)
    for each in modules:
        importlib.import_module(f"bench.sound.{each}")
        assert isinstance(getattr(package, each), ModuleType), each


def test_the_contract_names_the_helpers() -> None:
    assert bench.api.__doc__
    for name in PACKAGES[1:]:
        assert f"`{name}`" in bench.api.__doc__


@pytest.mark.parametrize("base", [Adaptation, Attacker, Dataset, Defense])
def test_everything_that_a_base_declares_is_documented(base: type) -> None:
    """Attributes have a text below them in the source, methods a docstring."""
    for each in (base, bench.api.Plugin):
        source = inspect.getsource(inspect.getmodule(each))  # type: ignore[arg-type]
        for name, value in vars(each).items():
            if name.startswith("_"):
                continue
            if inspect.isfunction(value):
                assert value.__doc__, f"{each.__name__}.{name}"
            elif not isinstance(value, classmethod):
                begins = source.index(f"class {each.__name__}(" if each is base else "class Plugin:")
                line = source.index(f"\n    {name}: ", begins)
                assert source[source.index("\n", line + 1) :].lstrip().startswith('"""'), f"{each.__name__}.{name}"
