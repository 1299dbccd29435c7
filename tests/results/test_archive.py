"""Archives of records: nothing is lost, the same bytes again, and a hostile one does no harm."""

from __future__ import annotations

import json
import lzma
import resource
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.results import archive

HEADER = {"format": archive.FORMAT, "version": 1, "suite": "tiny", "records": 0}


def record(seed: int, **more: Any) -> dict[str, Any]:
    """A record's JSON, with what three seeds share and what they do not."""
    plugin = {"name": "m5", "label": "m5", "version": 1, "digest": "ab", "params": {"epochs": 3}}
    return {
        "schema_version": 2,
        "key": f"{seed:032x}",
        "trial": {"attacker": plugin, "reference": None, "surrogates": [plugin], "expects": [], "seed": seed},
        "arms": {"clean": {"accuracy": [1.0, 0.0]}, "protected": {"accuracy": [seed / 7, None]}},
        "ids": ["a", "b"],
        "epochs": {},
        "provenance": {"git": {"commit": "c"}, "packages": {"torch": "2"}, "at": f"day {seed}"},
        **more,
    }


def text(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()]


def squeezed(path: Path, lines: Iterable[Any]) -> Path:
    path.write_bytes(lzma.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    return path


def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    records = [record(seed) for seed in range(3)]
    archive.write(tmp_path / "tiny.jsonl.xz", "tiny", records, 3)
    assert list(archive.read(tmp_path / "tiny.jsonl.xz")) == records
    assert archive.read_header(tmp_path / "tiny.jsonl.xz") == archive.Header("tiny", 3)


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl.xz", tmp_path / "b.jsonl.xz"
    digests = {archive.write(path, "tiny", map(record, range(3)), 3) for path in (first, second)}
    assert first.read_bytes() == second.read_bytes()
    assert digests == {archive.sha256(first)}


def test_what_records_share_stands_once(tmp_path: Path) -> None:
    archive.write(tmp_path / "tiny.jsonl.xz", "tiny", map(record, range(3)), 3)
    values = [line["value"] for line in text(tmp_path / "tiny.jsonl.xz") if "value" in line]
    assert values.count({"accuracy": [1.0, 0.0]}) == 1
    assert values.count(["a", "b"]) == 1
    assert sum(isinstance(value, dict) and value.get("name") == "m5" for value in values) == 1
    read = list(archive.read(tmp_path / "tiny.jsonl.xz"))
    assert read[0]["arms"]["clean"] is read[2]["arms"]["clean"]


def test_records_that_contradict_each_other_are_kept_as_they_are(tmp_path: Path) -> None:
    same_stage = [record(0), record(0, arms={"clean": {"accuracy": [0.0, 0.0]}})]
    archive.write(tmp_path / "tiny.jsonl.xz", "tiny", same_stage, 2)
    assert list(archive.read(tmp_path / "tiny.jsonl.xz")) == same_stage


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "half of a pair: \ud800"])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, value: Any) -> None:
    target = tmp_path / "tiny.jsonl.xz"
    target.write_bytes(b"the old one")
    with pytest.raises(DataError, match="cannot be written"):
        archive.write(target, "tiny", [record(0, note=value)], 1)
    assert target.read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is not an archive"),
        ([{"hello": 1}], "is not an archive"),
        ([{**HEADER, "version": 2}], "update cloakbench"),
        ([{**HEADER, "version": True, "suite": 3}], "names no suite"),
        ([{**HEADER, "records": 2}, {"record": {}}], "holds 1 records, and its first line says 2"),
        ([HEADER, ["a list"]], "not a JSON object"),
        ([HEADER, {"other": 1}], "neither a new value nor a record"),
        ([HEADER, {"id": "ids-1", "value": 1}, {"id": "ids-1", "value": 2}], "neither a new value nor a record"),
        ([{**HEADER, "records": 1}, {"record": {"ids": "ids-1"}}], "'ids-1', which does not stand before it"),
        ([{**HEADER, "records": 1}, {"record": {"ids": ["a"]}}], "does not stand before it"),
        ([HEADER, {"id": "ids-1", "value": float("nan")}], "NaN is not JSON"),
    ],
)
def test_what_is_no_archive_is_one_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(archive.read(squeezed(tmp_path / "tiny.jsonl.xz", lines)))
    assert "\n" not in str(error.value)


def test_damage_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "tiny.jsonl.xz"
    archive.write(target, "tiny", map(record, range(3)), 3)
    whole = target.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut off": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "longer": whole + b"x",
        "twice": whole + whole,
        "text": b"not compressed",
        "empty": b"",
    }
    for data in damaged.values():
        target.write_bytes(data)
        with pytest.raises(DataError, match=r"tiny\.jsonl\.xz"):
            list(archive.read(target))
    with pytest.raises(DataError, match="no file"):
        list(archive.read(tmp_path / "absent.jsonl.xz"))


def test_a_deep_nest_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "deep.jsonl.xz"
    target.write_bytes(lzma.compress(json.dumps(HEADER).encode() + b"\n" + b'{"id":' + b"[" * 200_000 + b"\n"))
    with pytest.raises(DataError, match="not JSON"):
        list(archive.read(target))


def test_a_bomb_is_not_unfolded(tmp_path: Path) -> None:
    """Two gigabytes of blanks are some 300 kB as xz; reading stops at a line's limit, or at that of the whole."""
    blanks = b" " * 2**20
    for name, chunk, message in (("line", blanks, "longer than 8 MiB"), ("lines", blanks[:-1] + b"\n", "MiB of text")):
        target = tmp_path / f"{name}.jsonl.xz"
        squeeze = lzma.LZMACompressor(preset=0)
        with target.open("wb") as file:
            file.write(squeeze.compress(json.dumps({**HEADER, "records": 1}).encode() + b"\n"))
            for _ in range(200):
                file.write(squeeze.compress(b"{" + chunk if name == "line" else b'{"record": {}}' + chunk))
            file.write(squeeze.flush())
        before = peak_mib()
        with pytest.raises(DataError, match=message):
            list(archive.read(target))
        assert peak_mib() - before < 100


def test_a_window_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """A file says itself how much memory its decompression takes: here 512 MiB for a few bytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    data = bytearray(lzma.compress(b"{}\n" * 10, format=lzma.FORMAT_XZ, filters=filters))
    end = 12 + (data[12] + 1) * 4  # of the block's header, whose last four bytes are its checksum
    data[data.index(bytes([0x21, 0x01]), 12) + 2] = 34  # the code of 512 MiB, behind the id of the filter
    data[end - 4 : end] = zlib.crc32(bytes(data[12 : end - 4])).to_bytes(4, "little")
    (target := tmp_path / "window.jsonl.xz").write_bytes(data)
    assert lzma.decompress(data) == b"{}\n" * 10
    with pytest.raises(DataError, match=r"[Mm]emory"):
        list(archive.read(target))


def peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
