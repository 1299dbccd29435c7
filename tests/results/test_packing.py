"""Records packed, unpacked and brought from elsewhere: nothing is lost, and a hostile archive does no harm."""

from __future__ import annotations

import contextlib
import json
import lzma
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.errors import DataError, UsageError
from bench.regression import baseline
from bench.results import archive, packing, sources, summary
from bench.results.reading import load, load_all, load_archive
from bench.results.upgrade import UPGRADES

LEADERBOARDS = plugins.home() / "leaderboards"
ARCHIVES = sorted((LEADERBOARDS / "records").glob(f"*{archive.SUFFIX}"))
SMOKE = LEADERBOARDS / "records" / f"digits-smoke{archive.SUFFIX}"
pytestmark = pytest.mark.skipif(not ARCHIVES, reason="not a checkout: a wheel has no records")


@pytest.mark.parametrize(
    "path",
    # Packing the largest takes seconds and shows nothing that the others do not.
    [pytest.param(path, marks=[pytest.mark.slow] if path.stat().st_size > 2e5 else []) for path in ARCHIVES],
    ids=lambda path: path.name,
)
def test_unpacking_and_packing_a_suite_gives_the_same_bytes_and_summary(path: Path, tmp_path: Path) -> None:
    source = sources.find(path)
    folder = tmp_path / source.name
    assert packing.unpack(source, folder) == archive.read_header(path).records
    assert load_all(folder) == sorted(load_archive(path), key=lambda record: record.name)
    packed = packing.pack(sources.find(folder), tmp_path / path.name, tmp_path / "results.json")
    assert packed.archive.read_bytes() == path.read_bytes()
    assert summary.read(packed.summary) == summary.read(LEADERBOARDS / "results" / f"{source.name}.json")
    assert packed.summary.read_bytes() == (LEADERBOARDS / "results" / f"{source.name}.json").read_bytes()


def test_the_committed_results_are_small() -> None:
    files = [path for path in LEADERBOARDS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4e6
    cells = [cell for path in (LEADERBOARDS / "results").glob("*.json") for cell in summary.read(path)["cells"]]
    assert sum(len(json.dumps(cell)) for cell in cells) / len(cells) < 1500  # of five seeds the most


def version_1(data: dict[str, Any]) -> dict[str, Any]:
    """A record as version 1 of the schema had it, with what followed from the rest stored beside it."""

    def plugin(new: dict[str, Any] | None) -> dict[str, Any] | None:
        return new and {("given" if key == "overrides" else key): value for key, value in new.items()}

    trial = {key: value for key, value in data["trial"].items() if key != "scope"}
    for role in ("dataset", "defense", "reference", "adaptation", "attacker"):
        trial[role] = plugin(trial[role])
    for role in ("surrogates", "expects"):
        trial[role] = [plugin(each) for each in trial[role]]
    renamed = {"audibility_ids": "heard", "crafting_log": "crafting", "provenance": "made"}
    same = {
        renamed.get(key, key): value for key, value in data.items() if key not in ("attacker_checks", "input_change")
    }
    check = {"name": "learns clean data", "passed": True, "value": 9.0, "limit": 3.0, "meaning": ""}
    return {
        **same,
        "schema_version": 1,
        "name": "n",
        "denied": 0.1,
        "notes": {},
        "gates": [check, *data["attacker_checks"]],
        "view": {"changed": data["input_change"]} if data["input_change"] else {},
        "trial": {**trial, "row": "r", "per": data["trial"]["scope"]},
    }


@pytest.mark.parametrize("suite", ["digits-smoke"])
def test_records_of_version_1_are_read(suite: str, tmp_path: Path) -> None:
    for record in load_archive(LEADERBOARDS / "records" / f"{suite}{archive.SUFFIX}")[:3]:
        old = version_1(record.model_dump())
        assert UPGRADES[1](old) == record.model_dump()
        file = tmp_path / f"{record.name}.json"
        file.write_text(json.dumps(old))
        assert load(file) == record
        file.write_text(json.dumps({**old, "unheard of": 1}))
        with pytest.raises(DataError, match="unheard of"):
            load(file)


def test_files_that_begin_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    record = load_archive(SMOKE)[0]
    file = record.save(tmp_path)
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert load(file) == record
    for path, read in (("results/digits-smoke.json", summary.read), ("baseline.json", baseline.read)):
        copy = tmp_path / Path(path).name
        copy.write_text((LEADERBOARDS / path).read_text(), encoding="utf-8-sig")
        assert read(copy) == read(LEADERBOARDS / path)


def test_a_summary_that_does_not_follow_from_its_records_is_told(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "results").mkdir()
    shutil.copy(SMOKE, tmp_path / "records")
    source = sources.find(tmp_path / "records" / SMOKE.name)
    records = load_archive(source.path)
    told = summary.read(LEADERBOARDS / "results" / "digits-smoke.json")
    summary.write(tmp_path / "results" / "digits-smoke.json", told)
    assert packing.summary_problems(source, records) == []
    told["cells"][0]["seeds"]["0"]["score"] = 0.9
    told["archive"]["sha256"] = "0" * 64
    del told["cells"][1]
    summary.write(tmp_path / "results" / "digits-smoke.json", told)
    lines = packing.summary_problems(source, records)
    assert len(lines) == 3
    assert "archive.sha256" in lines[0]
    assert "seeds.0" in lines[1]
    assert lines[2].endswith("missing")


def test_a_summary_of_an_older_version_is_one_line() -> None:
    summary_now = summary.read(LEADERBOARDS / "results" / "digits-smoke.json")
    (line,) = summary.differences({**summary_now, "version": 1}, summary_now)
    assert "version 1, expected 2" in line
    assert "bench records pack" in line


def test_an_archive_is_kept_only_with_the_digest_that_is_expected(tmp_path: Path) -> None:
    target, digest = tmp_path / "here" / SMOKE.name, archive.sha256(SMOKE)
    assert packing.pull(str(SMOKE), target, digest) == 14
    assert target.read_bytes() == SMOKE.read_bytes()
    assert packing.pull(SMOKE.resolve().as_uri(), target, digest.upper()) == 14
    for source, asked, kind, message in (
        (str(SMOKE), "0" * 64, DataError, "expected 0000"),
        (str(SMOKE), "abc", UsageError, "expected 64 hexadecimal digits"),
        (str(tmp_path / "absent"), digest, UsageError, "cannot be read"),
        ("nothing://x", digest, UsageError, "cannot be read"),
    ):
        with pytest.raises(kind, match=message) as error:
            packing.pull(source, tmp_path / "other" / SMOKE.name, asked)
        assert "\n" not in str(error.value)
    text = tmp_path / "text.jsonl.xz"
    text.write_bytes(lzma.compress(b"{}\n"))
    with pytest.raises(DataError, match="is not an archive"):
        packing.pull(str(text), tmp_path / "other" / "text.jsonl.xz", archive.sha256(text))
    assert not list((tmp_path / "other").iterdir())


def repeated(folder: Path, count: int, **change: Any) -> Path:
    """An archive of one record again and again, under another seed each time."""
    data = load_archive(SMOKE)[0].model_dump()
    data["trial"]["defense"]["label"] = change.pop("label", "noise")
    path = folder / "hostile.jsonl.xz"
    lines = ({**data, "trial": {**data["trial"], "seed": seed}, **change} for seed in range(count))
    archive.write(path, "hostile", lines, count)
    return path


def test_what_little_text_unpacks_to_is_limited(tmp_path: Path) -> None:
    path = repeated(tmp_path, 200)
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        packing.unpack(sources.find(path), tmp_path / "out", limit=2**20)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("label", ["../../escape", "/etc/passwd", "..", "a\nb", "x" * 300])
def test_no_name_of_an_archive_leads_out_of_the_folder(tmp_path: Path, label: str) -> None:
    (tmp_path / "in").mkdir()
    source = sources.find(repeated(tmp_path / "in", 1, label=label))
    with contextlib.suppress(DataError, UsageError):  # a name that is too long
        packing.unpack(source, tmp_path / "in" / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
    assert {each.parent.name for each in tmp_path.rglob("*.json")} <= {"out"}


def test_copies_in_an_archive_and_folders_that_are_in_use_are_refused(tmp_path: Path) -> None:
    data = load_archive(SMOKE)[0].model_dump()
    path = tmp_path / "twice.jsonl.xz"
    archive.write(path, "twice", [data, data], 2)
    with pytest.raises(DataError, match="hold the same trial"):
        load_archive(path)
    archive.write(path, "wrong", [{**data, "ids": [1, 2]}], 1)
    with pytest.raises(DataError, match=r"record 1 is not a record: .*ids"):
        load_archive(path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UsageError, match="exists and is not empty"):
        packing.unpack(sources.find(SMOKE), tmp_path / "full")


def test_reading_results_imports_no_torch() -> None:
    modules = "results.results, results.packing, results.lookup, results.consistency, results.board, results.upgrade"
    reports = "report.markdown, report.site, report.terminal, report.inspection, report.tables, regression.gate"
    names = ", ".join(f"bench.{name}" for name in f"{modules}, {reports}".split(", "))
    code = (
        f"import sys, {names}, bench; bench.load_results('digits-smoke').rows; "
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
