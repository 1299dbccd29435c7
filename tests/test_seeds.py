"""Numbers from names are frozen: splits of data sets and shuffled items depend on them for ever."""

from __future__ import annotations

import hashlib
import os

import torch

from bench.seeds import name_generator, name_orders, unit_hash


def test_hashes_are_frozen() -> None:
    assert unit_hash("song-1") == int(hashlib.sha256(b"song-1").hexdigest()[:16], 16) / 2**64
    assert unit_hash("") == 0xE3B0C44298FC1C14 / 2**64
    assert all(0 <= unit_hash(str(number)) < 1 for number in range(100))


def test_a_name_decides_the_numbers_and_nothing_else_does() -> None:
    torch.manual_seed(5)
    first = torch.rand(4, generator=name_generator("a"))
    assert torch.equal(first, torch.rand(4, generator=name_generator("a")))
    assert not torch.equal(first, torch.rand(4, generator=name_generator("b")))
    assert name_generator("a").initial_seed() == int(hashlib.sha256(b"a").hexdigest()[:14], 16)
    whole = name_orders(["a", "b", "c"], [5, 0, 9])
    assert [order.tolist() for order in name_orders(["c", "a"], [9, 5])] == [whole[2].tolist(), whole[0].tolist()]
    assert [sorted(order.tolist()) for order in whole] == [list(range(5)), [], list(range(9))]


def test_names_of_files_that_are_not_utf8_have_numbers_too() -> None:
    assert 0 <= unit_hash(os.fsdecode(b"\xff.wav")) < 1
    name_generator(os.fsdecode(b"\xff.wav"))
