"""The store in a bucket: an S3 server on loopback, the real client."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial

KEY = "ab" * 16
NAMES = itertools.count()
Make = Callable[[str], Store]


@pytest.fixture
def files(bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket's file system, as a user's environment names it."""
    import s3fs

    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # instances outlive the environment that they were made in
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def url(files: Any) -> str:
    return f"s3://bucket/prefix-{next(NAMES)}"


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The same store as another machine sees it: nothing of it is mirrored there yet."""

    def make(name: str) -> Store:
        monkeypatch.setenv("BENCH_STORE", str(tmp_path / name))
        return Store(url)

    return make


def put(store: Store, text: str = "hello", key: str = KEY) -> None:
    with store.write(key) as (folder, meta):
        (folder / "words.json").write_text(json.dumps(text))
        (folder / "more.json").write_text(json.dumps(text * 2))
        meta["task"] = "load"


def listed(files: Any, url: str) -> list[str]:
    files.invalidate_cache()
    return sorted(path.removeprefix(url.removeprefix("s3://") + "/") for path in files.find(url))


def test_one_machine_writes_and_another_reads(machine: Make) -> None:
    one, other = machine("one"), machine("other")
    assert not other.has(KEY)
    with pytest.raises(KeyError):
        other.open(KEY)
    with pytest.raises(KeyError):
        other.meta(KEY)
    put(one)
    assert other.has(KEY)
    assert other.meta(KEY)["task"] == "load"
    assert other.json(KEY, "words.json") == "hello"
    assert other.json(KEY, "none.json") is None
    assert not list(other.root.rglob("words.json"))  # so far nothing was fetched
    assert json.loads((other.open(KEY) / "words.json").read_text()) == "hello"
    assert other.meta(KEY)["task"] == "load"


def test_what_has_no_done_is_not_there(machine: Make, files: Any, url: str) -> None:
    put(machine("one"))
    (done,) = [path for path in listed(files, url) if path.endswith("done.json")]
    files.rm_file(f"{url}/{done}")
    other = machine("other")
    assert not other.has(KEY)
    assert other.present([KEY]) == frozenset()
    with pytest.raises(KeyError):
        other.open(KEY)
    put(other, "again")
    assert machine("third").json(KEY, "words.json") == "again"


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_broken_upload_leaves_nothing_complete(
    machine: Make, files: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    store, uploads = machine("one"), itertools.count()

    def breaking(upload: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*given: Any) -> Any:
            if next(uploads) == after:
                raise OSError("the line went down")
            return upload(*given)

        return broken

    for name in ("put_file", "pipe_file"):
        monkeypatch.setattr(files, name, breaking(getattr(files, name)))
    with pytest.raises(UsageError, match="the line went down"):
        put(store)
    assert next(uploads) == after + 1
    assert not store.has(KEY)
    assert not machine("other").has(KEY)
    put(store, "whole")
    assert machine("third").json(KEY, "words.json") == "whole"
    assert json.loads((machine("fourth").open(KEY) / "more.json").read_text()) == "wholewhole"


def test_the_second_writer_changes_nothing(machine: Make) -> None:
    one, other = machine("one"), machine("other")
    put(one, "first")
    put(other, "second")
    for store in (one, other, machine("third")):
        assert json.loads((store.open(KEY) / "words.json").read_text()) == "first"


def test_two_writers_at_once_leave_one_whole_artefact(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = machine("one"), machine("other")
    monkeypatch.setattr(type(one._remote), "has", lambda remote, key: False)  # neither sees the other
    with one.write(KEY) as (folder, _):
        (folder / "words.json").write_text('"one"')
        (folder / "more.json").write_text('"one"')
        put(other, "other, which is longer")
    monkeypatch.undo()
    reader = machine("reader")
    words = json.loads((reader.open(KEY) / "words.json").read_text())
    assert words == reader.json(KEY, "more.json") == "one"  # whose done.json came last; never one file of each


def test_an_artefact_in_a_bucket_cannot_lead_out(machine: Make, files: Any, url: str, tmp_path: Path) -> None:
    at = f"{url}/artefacts/{KEY[:2]}/{KEY}"
    for done in ({"folder": "own", "files": {"../../evil": 4}}, {"folder": "../elsewhere", "files": {"evil": 4}}):
        files.pipe_file(f"{at}/done.json", json.dumps(done).encode())
        with pytest.raises(UsageError, match="expected a plain name"):
            machine("one").open(KEY)
    assert not list(tmp_path.rglob("evil"))
    files.pipe_file(f"{at}/done.json", b'{"files": {"wor')
    with pytest.raises(UsageError, match="is not valid"):
        machine("one").open(KEY)


def test_a_file_that_was_cut_short_is_not_used(machine: Make, files: Any, url: str) -> None:
    put(machine("one"))
    (words,) = [path for path in listed(files, url) if path.endswith("words.json")]
    files.pipe_file(f"{url}/{words}", b'"he')
    with pytest.raises(UsageError, match="is truncated"):
        machine("other").open(KEY)


def test_thousands_of_keys_cost_one_listing(machine: Make, files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{index:032x}" for index in range(40)]
    store = machine("one")
    for key in keys[::10]:
        put(store, key=key)
    asked = []

    def counting(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            asked.append(name)
            return ask(*given)

        return counted

    for name in ("exists", "info", "cat_file", "find"):
        monkeypatch.setattr(files, name, counting(name, getattr(files, name)))
    assert machine("other").present(keys) == set(keys[::10])
    assert asked == ["find"]
    assert machine("other").present(keys[:3]) == {keys[0]}
    assert asked.count("exists") == 3  # a few keys are asked for, however much the bucket holds


def test_a_bucket_that_is_not_there_is_one_line_and_is_not_made(
    files: Any, small_trials: Callable[..., tuple[Trial, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="bucket does not exist") as refused:
        execute(prepare(small_trials(), Store("s3://mistyped/store")), tmp_path / "records", lambda event: None)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "records").exists()
    assert not files.exists("mistyped")


def test_an_endpoint_that_does_not_answer_is_one_line(
    small_trials: Callable[..., tuple[Trial, ...]], tmp_path: Path, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(files).clear_instance_cache()
    with pytest.raises(UsageError, match=r"the store 's3://bucket/store' cannot be used: .*127\.0\.0\.1:9"):
        prepare(small_trials(), Store("s3://bucket/store"))


def test_a_run_in_a_bucket_is_found_by_another_machine(
    machine: Make, small_trials: Callable[..., tuple[Trial, ...]], tmp_path: Path
) -> None:
    trials = small_trials(seeds=[0])
    first = execute(prepare(trials, machine("one")), tmp_path / "first", lambda event: None, jobs=1)
    work = prepare(trials, machine("other"))
    assert work.missing == 0
    second = execute(work, tmp_path / "second", lambda event: pytest.fail(event.stage.title), jobs=1)
    assert [record.science() for record in second] == [record.science() for record in first]
    assert {record.status for record in second} == {"ok"}
    assert not list(work.store.root.rglob("*.flac"))  # a record needs no sound
