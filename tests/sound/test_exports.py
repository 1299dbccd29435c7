"""What authors of plugins may rely on in `bench.sound` is there, documented, and followed by a plugin's digest."""

import importlib
import pkgutil
import types

import bench.sound


def test_every_exported_name_is_there_and_documented() -> None:
    assert sorted(set(bench.sound.__all__)) == sorted(bench.sound.__all__)
    for name in bench.sound.__all__:
        thing = getattr(bench.sound, name)
        if callable(thing):
            assert thing.__doc__, name
            assert thing.__module__.startswith("bench.sound."), name


def test_no_export_hides_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(bench.sound.__path__)}
    assert not modules & set(bench.sound.__all__)
    for name in modules:
        importlib.import_module(f"bench.sound.{name}")
        assert isinstance(getattr(bench.sound, name), types.ModuleType), name
