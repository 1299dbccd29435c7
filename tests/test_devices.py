"""Which device stages run on, and how many of them an accelerator or the machine holds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import devices
from bench.devices import CPU, Accelerator, Placement
from bench.errors import UsageError

TWO = (Accelerator("cuda:0", "Large", 80.0), Accelerator("cuda:1", "Small", 20.0))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two accelerators, as torch tells of them."""
    told = [SimpleNamespace(name=each.name, total_memory=each.memory_gb * 2**30) for each in TWO]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(told))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: told[index])


def test_auto_takes_every_accelerator_and_a_name_the_one_that_is_named(two: None) -> None:
    assert devices.selected("auto") == devices.selected("cuda") == TWO
    assert devices.selected("cuda:1") == TWO[1:]
    assert devices.selected("cpu") == ()
    assert devices.first("auto") == "cuda:0"
    with pytest.raises(
        UsageError, match=r"--device cuda:2: there is no such accelerator, expected one of cuda:0, cuda:1"
    ):
        devices.selected("cuda:2")


def test_without_an_accelerator_auto_is_the_processor_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.selected("auto") == ()
    assert devices.first("auto") == CPU
    for device, message in (("cuda", "torch finds none"), ("gpu", "expected auto, cpu, cuda or cuda:N")):
        with pytest.raises(UsageError, match=message):
            devices.selected(device)


def test_stages_share_an_accelerator_while_their_sum_fits() -> None:
    placement = Placement(TWO, 64.0)
    used: dict[str, float] = {}
    places = []
    while device := placement.device_for(10.0, used):
        places.append(device)
        used[device] = used.get(device, 0.0) + 10.0 + devices.CONTEXT_GB
    assert (places.count("cuda:0"), places.count("cuda:1")) == (6, 1)  # of 72 and 18 usable GB, 10.5 each
    assert placement.device_for(0.0, used) == CPU  # a stage that needs none


def test_what_no_accelerator_could_ever_hold_gets_an_empty_one_to_itself() -> None:
    placement = Placement(TWO, 64.0)
    assert placement.device_for(200.0, {"cuda:0": 1.0}) == "cuda:1"
    assert placement.device_for(200.0, {"cuda:0": 1.0, "cuda:1": 1.0}) is None
    assert Placement((), 64.0).device_for(200.0, {}) == CPU


def test_the_machines_memory_bounds_how_much_runs_at_once() -> None:
    placement = Placement((), 8.0)
    assert placement.holds(2.0, [3.0, 3.0])
    assert not placement.holds(2.1, [3.0, 3.0])
    assert placement.holds(100.0, [])  # alone it is tried


def test_the_memory_of_a_container_is_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "Path", lambda name: limit if name.startswith("/sys/fs/cgroup") else Path(name))
    limit.write_text("max\n")
    whole = devices.host_memory_gb()
    limit.write_text(f"{2**30}\n")
    assert devices.host_memory_gb() == 1.0 < whole
