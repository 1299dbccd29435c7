"""Output files are asked for beforehand and replaced whole or not at all; every error of the system is one line."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError, DataError, UsageError
from bench.files import check_output, check_source, folder_of, printable, replacing

root_only = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


def test_a_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    with replacing(out) as draft:
        draft.write_text("first")
        assert draft.suffix == ".txt"
        assert not out.exists()
    out.chmod(0o640)
    with replacing(out) as draft:
        draft.write_text("second")
        assert out.read_text() == "first"
    assert out.read_text() == "second"
    assert out.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DataError("unequal"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_and_no_draft(tmp_path: Path, error: BaseException) -> None:
    out = tmp_path / "a.txt"
    out.write_text("mine")
    expected = UsageError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with replacing(out) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(expected) as caught:
        fail()
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]
    assert "\n" not in str(caught.value)


def test_what_appeared_meanwhile_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"

    def write() -> None:
        with replacing(out, force=False) as draft:
            draft.write_text("ours")
            out.write_text("theirs")

    with pytest.raises(UsageError, match="created in the meantime"):
        write()
    assert out.read_text() == "theirs"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with replacing(link) as draft:
        draft.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@contextlib.contextmanager
def writing(out: Path, number: int = signal.SIGTERM) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written half of a file's draft, and does not ignore a signal."""
    code = (
        "import signal, sys, time, pathlib, bench.files\n"
        "signal.signal(int(sys.argv[2]), signal.SIG_DFL)\n"  # nohup has it ignored
        "with bench.files.replacing(pathlib.Path(sys.argv[1])) as draft:\n"
        "    draft.write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, str(out), str(int(number))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_process_leaves_no_draft(tmp_path: Path, number: int) -> None:
    with writing(tmp_path / "a.txt", number) as process:
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_the_draft_of_a_killed_process_is_removed_by_the_next_that_writes_there(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    with writing(out) as living:
        (theirs,) = tmp_path.iterdir()
        with writing(out) as killed:
            assert len(list(tmp_path.iterdir())) == 2
            killed.kill()
            killed.wait()
        with replacing(out) as draft:
            assert set(tmp_path.iterdir()) == {theirs, draft.parent}
            draft.write_text("whole")
        assert living.poll() is None
    assert set(tmp_path.iterdir()) == {theirs, out}
    check_output(out, force=True)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-", "standard output"),
        ("a.xyz", r"cannot write '.xyz' files, expected .mid, .wav"),
        ("a", "cannot write '' files"),
        ("no/a.wav", "the folder .*no does not exist"),
        ("there.wav", "exists: give another name, or --force"),
        ("source.wav", "is the source itself"),
        ("folder.wav", "not a regular file"),
        ("/proc/a.wav", "cannot write /proc/a.wav"),
        ("x" * 300 + ".wav", "name of 304 bytes, expected at most 255"),
        ("file.wav/a.wav", "does not exist|not a directory"),
    ],
)
def test_outputs_that_cannot_be_written_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("there.wav", "source.wav", "file.wav"):
        Path(file).write_text("x")
    Path("folder.wav").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=expected) as caught:
        check_output(Path(name), sources=[Path("source.wav")], suffixes=(".wav", ".mid"), force=False)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_force_replaces_a_file_but_never_the_source_or_a_folder(tmp_path: Path) -> None:
    source, there, folder = tmp_path / "source.wav", tmp_path / "there.wav", tmp_path / "folder.wav"
    source.write_text("x")
    there.write_text("x")
    folder.mkdir()
    check_output(there, sources=[source], force=True)
    for out in (source, folder):
        with pytest.raises(UsageError):
            check_output(out, sources=[source], force=True)


def test_sources_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (("no.wav", "no file"), ("", "is a folder"), ("pipe", "a device or a pipe")):
        with pytest.raises(DataError, match=expected):
            check_source(tmp_path / name)


@root_only
def test_a_source_without_permission_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("x")
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        check_source(tmp_path / "a.wav")


def test_names_that_are_no_utf_8_or_hold_line_breaks_are_shown_in_one_line(tmp_path: Path) -> None:
    assert printable("a\nb.wav") == "a\\nb.wav"
    assert printable(os.fsdecode(b"s\xffng.wav")) == "s\\xffng.wav"
    assert printable("süß 音.wav") == "süß 音.wav"
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/s\xffng.wav"))
    with pytest.raises(BenchError) as caught:
        check_source(odd)
    str(caught.value).encode()


def test_a_link_that_leads_nowhere_is_told_from_a_misspelled_name(tmp_path: Path) -> None:
    for name, target in (("song.wav", "gone.wav"), ("loop.wav", "loop.wav")):
        link = tmp_path / name
        link.symlink_to(target)
        with pytest.raises(DataError, match=rf"{name}' is a link to '{target}', which leads to no file"):
            check_source(link)


def test_a_folder_stays_its_first_owners_as_long_as_that_is_there(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "s.toml", tmp_path / "b" / "s.toml"
    for owner in (first, second):
        owner.parent.mkdir()
        owner.write_text("")
    wished = tmp_path / "records"
    assert folder_of(first, wished) == folder_of(first, wished) == wished
    other = folder_of(second, wished)
    assert other == folder_of(second, wished) != wished
    assert other.parent == tmp_path
    first.unlink()
    assert folder_of(second, wished) == wished
