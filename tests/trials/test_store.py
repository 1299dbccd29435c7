"""The store is atomic, finds what is complete only, and never leaves its folder."""

import errno
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.api import Clips
from bench.errors import UsageError
from bench.files import write_json
from bench.trials.artefacts import save_data
from bench.trials.store import Store

KEY = "ab" * 16


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "cache"))
    return Store(tmp_path / "store" if request.param == "folder" else f"memory://{tmp_path.name}")


def put(store: Store, text: str = "hello") -> None:
    with store.write(KEY) as (folder, meta):
        (folder / "words.json").write_text(json.dumps(text))
        meta["task"] = "load"


def test_what_is_written_is_found(store: Store) -> None:
    assert not store.has(KEY)
    put(store)
    assert store.has(KEY)
    assert json.loads((store.open(KEY) / "words.json").read_text()) == "hello"
    assert store.meta(KEY)["task"] == "load"


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    def interrupted() -> None:
        with store.write(KEY) as (folder, _):
            (folder / "words.json").write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert not store.has(KEY)
    assert not list((store.root / "tmp").iterdir())
    with pytest.raises(KeyError):
        store.open(KEY)


def test_the_second_writer_changes_nothing(store: Store) -> None:
    put(store, "first")
    put(store, "second")
    assert json.loads((store.open(KEY) / "words.json").read_text()) == "first"


def test_a_remote_store_is_read_by_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{tmp_path.name}"
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "one"))
    put(Store(url))
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "two"))
    other = Store(url)
    assert not list(other.root.rglob("words.json"))
    assert other.has(KEY)
    assert json.loads((other.open(KEY) / "words.json").read_text()) == "hello"


@pytest.mark.parametrize("damage", ["cut", "gone", "no done", "half done", "list"])
def test_a_damaged_artefact_is_not_there_and_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    put(store, "hello")
    folder = store.open(KEY)
    if damage == "cut":
        (folder / "words.json").write_text("he")
    elif damage == "gone":
        (folder / "words.json").unlink()
    elif damage == "no done":
        (folder / "done.json").unlink()
    elif damage == "half done":
        (folder / "done.json").write_text('{"files": {"wor')
    else:
        (folder / "done.json").write_text("[]")
    assert not store.has(KEY)
    put(store, "again")
    assert json.loads((store.open(KEY) / "words.json").read_text()) == "again"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", ".hidden", "a/b"])
def test_nothing_leads_out_of_an_artefact(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    put(store)
    folder = store.open(KEY)
    done = json.loads((folder / "done.json").read_text())
    (folder / "done.json").write_text(json.dumps({**done, "files": {name: 5}}))
    assert not store.has(KEY)
    with pytest.raises(ValueError, match="is not a key"):
        store.has(name)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", ".evil"])
def test_a_remote_artefact_cannot_lead_out_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import fsspec

    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    at = f"/{tmp_path.name}/artefacts/{KEY[:2]}/{KEY}"
    files.pipe_file(f"{at}/done.json", json.dumps({"folder": "own", "files": {name: 4}}).encode())
    files.pipe_file(f"{at}/own/{name}", b"evil")
    with pytest.raises(UsageError, match="expected a plain name"):
        Store(f"memory://{tmp_path.name}").open(KEY)
    assert not list(tmp_path.rglob("evil"))


def test_old_leftovers_are_swept_and_young_ones_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, young = tmp_path / "tmp" / "old", tmp_path / "tmp" / "young"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    assert store.sweep() == 1
    assert young.exists()
    assert not old.exists()


def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Store(tmp_path / "file" / "store")
    with pytest.raises(UsageError, match="cannot be used"):
        Store("nosuchprotocol://bucket/folder")


def test_a_full_disk_is_one_line_with_the_file_and_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    clips = Clips.of(torch.rand(1, 1, 4096, generator=torch.Generator().manual_seed(0)), 8000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))

    def write() -> None:
        with store.write(KEY) as (folder, _):
            save_data(folder, clips)

    with pytest.raises(
        UsageError, match=r"audio\.flac': no space left on device: [\d,]+ bytes needed, 100 free"
    ) as error:
        write()
    assert "\n" not in str(error.value)
    assert not store.has(KEY)


def test_an_error_of_the_system_without_a_file_names_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(UsageError, match=r"store': no space left on device"), store.write(KEY):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_json_refuses_nan_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"value": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert json.loads(path.read_text()) == {"value": 1.0}
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]
