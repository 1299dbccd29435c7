"""Speech Commands: the official lists, speakers kept apart, and what is said of files that do not fit."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench import plugins
from bench.check import checks, outcome
from bench.errors import DataError, UsageError
from bench.sound.files import read, write

SPLITS = ("train", "validation", "test")
WORDS = ("cat", "dog")
# speaker -> split; each says each word three times.
SPEAKERS = {"0000000a": "train", "0000000b": "train", "0000000c": "validation", "0000000d": "test"}


def build(**given: Any) -> Any:
    return plugins.build("datasets", "speech_commands", {"words": WORDS} | given, "full")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "speech_commands").__module__]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small stand-in in torchaudio's layout: a tone of its word's pitch, levels and lengths that differ."""
    place = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for pitch, word in enumerate(WORDS):
        (place / word).mkdir(parents=True)
        for number, (speaker, split) in enumerate(SPEAKERS.items()):
            for take in range(3):
                time = torch.arange(16000 - 2000 * take) / 16000
                tone = 0.05 * (1 + number) * torch.sin(2 * torch.pi * (200 + 200 * pitch) * time)
                name = f"{word}/{speaker}_nohash_{take}.wav"
                write(place / name, tone, 16000, "PCM_16")
                lists[split].append(name)
    (place / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n")
    (place / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    (place / "_background_noise_").mkdir()
    write(place / "_background_noise_" / "hum.wav", torch.full((32000,), 0.1), 16000, "PCM_16")
    return place


def test_splits_are_those_of_the_lists(folder: Path) -> None:
    dataset = build(path=str(folder))
    for split, clips in ((split, dataset.load(split).check()) for split in SPLITS):
        speakers = {speaker for speaker, mine in SPEAKERS.items() if mine == split}
        assert set(clips.groups) == speakers
        assert set(clips.ids) == {f"{word}/{s}_nohash_{take}" for word in WORDS for s in speakers for take in range(3)}
        assert clips.classes == WORDS
        for name, label, group in zip(clips.ids, clips.labels, clips.groups, strict=True):
            assert name.startswith(f"{WORDS[label]}/{group}_")


def test_the_contract_holds_on_recordings(folder: Path) -> None:
    """The kit skips what it cannot load; here it can."""
    outcomes = [outcome(check) for check in checks("datasets", build(path=str(folder)))]
    rest = [str(found.check) for found in outcomes if found.status != "passed"]
    assert rest == ["its threat models fit"]  # it declares none


def test_sound_padding_and_levels_are_right(folder: Path) -> None:
    clips = build(path=str(folder)).load("train")
    assert clips.audio.shape == (12, 1, 16000)
    assert clips.rate == 16000
    assert torch.allclose(clips.audio.abs().amax((1, 2)), torch.tensor(0.5), atol=1e-3)
    for row, name in enumerate(clips.ids):
        assert clips.lengths[row] == 16000 - 2000 * int(name[-1])
        tone = torch.fft.rfft(clips.audio[row, 0, :12000]).abs().argmax() * 16000 / 12000
        assert float(tone) == pytest.approx(200 + 200 * int(clips.labels[row]), abs=3)
    left = build(path=str(folder), peak=0).load("train").audio.abs().amax((1, 2))
    assert sorted({round(float(peak), 2) for peak in left}) == [0.05, 0.1]


def test_the_quick_way_of_reading_gives_the_same_samples(folder: Path, module: ModuleType) -> None:
    noise = torch.rand(15999, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain, other = folder / "plain.wav", folder / "other.wav"
    write(plain, noise, 16000, "PCM_16")
    header = plain.read_bytes()[:44]
    assert header[:4] + header[8:40] == module._HEADER[:4] + module._HEADER[8:]  # it is taken
    assert torch.equal(module._sound(plain), read(plain)[0][0])
    write(other, noise, 16000, "FLOAT")
    assert torch.equal(module._sound(other), noise)
    write(other, noise, 8000, "PCM_16")
    with pytest.raises(DataError, match="1 channels at 8000 Hz"):
        module._sound(other)


def test_a_long_recording_is_cut(folder: Path) -> None:
    write(folder / "cat" / "0000000a_nohash_0.wav", torch.full((20000,), 0.1), 16000, "PCM_16")
    clips = build(path=str(folder)).load("train").check()
    assert int(clips.lengths[clips.ids.index("cat/0000000a_nohash_0")]) == 16000


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_folder_is_found_from_each_of_its_parents(
    folder: Path, tmp_path: Path, up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = (folder, folder.parent, tmp_path)[up]
    expected = build(path=str(folder)).load("test")
    assert torch.equal(build(path=str(root)).load("test").audio, expected.audio)
    monkeypatch.setenv("BENCH_DATA", str(root))
    assert torch.equal(build().load("test").audio, expected.audio)
    assert build().inventory() == {f"recordings in {folder}": ""}


def test_a_limit_takes_as_many_of_each_word_and_the_same_ones_always(folder: Path) -> None:
    whole = build(path=str(folder)).load("train")
    for limit in (1, 2, 5):
        part = build(path=str(folder), limit=limit).load("train")
        assert part.labels.bincount().tolist() == [limit, limit]
        assert part.ids == whole.ids[: 2 * limit]  # words turn first


def test_words_are_thirteen_or_all_or_named(module: ModuleType) -> None:
    assert len(module.WORDS) == len(set(module.WORDS)) == 35
    assert build(words=13)._words() == module.WORDS[:13]
    assert build(words=35)._words() == module.WORDS
    assert build(words=["yes", "no"])._words() == ("yes", "no")
    with pytest.raises(UsageError, match="did you mean 'forward'"):
        build(words=("forwards", "no"))
    for bad in (("yes",), ("yes", "yes"), ()):
        with pytest.raises(UsageError, match="two or more different ones"):
            build(words=bad)
    with pytest.raises(UsageError, match="words"):
        build(words=14)
    with pytest.raises(UsageError, match="limit = -1, expected 0"):
        build(limit=-1)
    with pytest.raises(UsageError, match=r"expected 0\.\.1"):
        build(peak=1.5)


def test_a_speaker_in_two_splits_is_refused(folder: Path) -> None:
    write(folder / "dog" / "0000000d_nohash_7.wav", torch.full((8000,), 0.1), 16000, "PCM_16")  # in no list: training
    with pytest.raises(DataError, match=r"speaker 0000000d is in train and in test, such as cat/0000000d_nohash_0"):
        build(path=str(folder)).load("validation")


def test_a_file_that_does_not_fit_is_named(folder: Path) -> None:
    file = folder / "dog" / "0000000d_nohash_1.wav"
    whole = file.read_bytes()
    dataset = build(path=str(folder))
    for damage in (b"", b"RIFF", bytes(2000), whole[:900]):
        file.write_bytes(damage)
        with pytest.raises(DataError, match=r"0000000d_nohash_1\.wav") as raised:
            dataset.load("test")
        assert "\n" not in str(raised.value)
    write(file, torch.zeros(8000), 16000, "PCM_16")
    with pytest.raises(DataError, match=r"0000000d_nohash_1\.wav' is silent"):
        dataset.load("test")
    write(file, torch.full((2, 8000), 0.1), 8000, "PCM_16")
    with pytest.raises(DataError, match=r"0000000d_nohash_1\.wav: 2 channels at 8000 Hz, expected 1 at 16000"):
        dataset.load("test")
    file.unlink()
    with pytest.raises(DataError, match="1 of 12 listed recordings are missing, first dog/0000000d_nohash_1"):
        dataset.load("train")
    file.write_bytes(whole)
    (folder / "cat" / "mine.wav").write_bytes(whole)
    with pytest.raises(DataError, match=r"cat.mine\.wav: expected a name like SPEAKER_nohash_TAKE"):
        dataset.load("train")


@pytest.mark.parametrize(
    "line", ["../../etc/passwd", "cat/../../x_nohash_0.wav", "nobody/0000000a_nohash_0.wav", "cat"]
)
def test_a_list_names_recordings_and_nothing_else(folder: Path, line: str) -> None:
    with (folder / "testing_list.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"testing_list\.txt: '.*', expected WORD/SPEAKER_nohash_TAKE\.wav"):
        build(path=str(folder)).load("train")


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(DataError, match="BENCH_DATA is not set"):
        build().load("train")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(
        DataError, match=r"no testing_list\.txt in .*\(from BENCH_DATA\); unpack https.*download = true"
    ):
        build().load("train")
    assert build().fingerprint() == ""
    with pytest.raises(DataError, match="no folder 'backward', expected the words of v0"):
        build(path=str(folder), words=13).load("train")
    with pytest.raises(DataError, match="unknown split of Speech Commands 'dev'"):
        build(path=str(folder)).load("dev")
    (folder / "validation_list.txt").write_text("")
    with pytest.raises(DataError, match="no recording of 'cat' falls to validation"):
        build(path=str(folder)).load("validation")


def test_the_fingerprint_follows_the_files(folder: Path) -> None:
    before = build(path=str(folder)).fingerprint()
    assert before == build(path=str(folder)).fingerprint() != ""
    (folder / "cat" / "0000000a_nohash_0.wav").unlink()
    assert build(path=str(folder)).fingerprint() != before


def packed(files: dict[str, bytes], link: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return stream.getvalue()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Iterator[dict[str, bytes]]:
    """What a server on this machine gives under /archive; the loader is pointed at it."""
    content: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = content.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "ARCHIVE", f"http://127.0.0.1:{server.server_port}/archive")
    yield content
    server.shutdown()
    thread.join()
    server.server_close()


def serve(served: dict[str, bytes], data: bytes, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    served["/archive"] = data
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(data).hexdigest())


def test_a_download_is_checked_and_unpacked(
    folder: Path, tmp_path: Path, served: dict[str, bytes], module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        f"./{file.relative_to(folder).as_posix()}": file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }
    target = tmp_path / "new" / "SpeechCommands" / "speech_commands_v0.02"
    dataset = build(path=str(tmp_path / "new"), download=True)
    served["/archive"] = packed(files)
    with pytest.raises(DataError, match=r"SHA-256 is .*, expected af14739e.*nothing was kept"):
        dataset.load("train")
    assert not list(target.parent.iterdir())

    serve(served, packed(files), module, monkeypatch)
    assert torch.equal(dataset.load("train").audio, build(path=str(folder)).load("train").audio)
    assert {file.relative_to(target) for file in target.rglob("*")} == {
        f.relative_to(folder) for f in folder.rglob("*")
    }
    assert list(target.parent.iterdir()) == [target]
    served.clear()
    assert len(dataset.load("test")) == 6  # what is there is not fetched again


@pytest.mark.parametrize(
    ("files", "link"),
    [
        ({"../evil.txt": b"no"}, ""),
        ({"/tmp/evil.txt": b"no"}, ""),
        ({"cat/../../evil.txt": b"no"}, ""),
        ({"cat/deeper/evil.txt": b"no"}, ""),
        ({"cat/fine.wav": b"yes"}, "cat/evil.wav"),
    ],
)
def test_an_archive_may_not_lead_outside(
    tmp_path: Path,
    served: dict[str, bytes],
    module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, bytes],
    link: str,
) -> None:
    serve(served, packed(files, link), module, monkeypatch)
    with pytest.raises(DataError, match=r"refused '.*evil.*nothing was kept"):
        build(path=str(tmp_path / "data"), download=True).load("train")
    assert not [file for file in tmp_path.rglob("*") if file.is_file() or file.is_symlink()]


def test_a_failed_download_is_one_line(
    tmp_path: Path, served: dict[str, bytes], module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build(path=str(tmp_path / "data"), download=True)
    for data in (None, b"", b"not an archive"):
        if data is not None:
            serve(served, data, module, monkeypatch)
        with pytest.raises(DataError, match="could not be fetched from http://127") as raised:
            dataset.load("test")
        assert "\n" not in str(raised.value)
    monkeypatch.setattr(module, "LARGEST", 5)
    with pytest.raises(DataError, match=r"more than 5 bytes.*nothing was kept"):
        dataset.load("test")
    (tmp_path / "data" / "SpeechCommands" / "speech_commands_v0.02").mkdir(parents=True)
    with pytest.raises(DataError, match="without its lists; move it away"):
        dataset.load("test")


def test_the_checksum_is_torchaudios_and_the_cards(module: ModuleType) -> None:
    path = plugins.find("datasets", "speech_commands").path
    assert path is not None
    card = tomllib.loads(path.with_suffix(".toml").read_text())
    assert card["checksums"]["archive"] == module.SHA256
    assert card["archive"] == module.ARCHIVE
    torchaudio = pytest.importorskip("torchaudio.datasets.speechcommands")
    assert module.SHA256 in torchaudio._CHECKSUMS.values()


def test_the_published_counts_hold_where_the_recordings_are(bench_data: Path) -> None:
    dataset = build(words=35, path=str(bench_data))
    if any(dataset.inventory().values()):
        pytest.skip("no Speech Commands below BENCH_DATA")
    path = plugins.find("datasets", "speech_commands").path
    assert path is not None
    published = tomllib.loads(path.with_suffix(".toml").read_text())["published"]["splits"]
    assert {split: len(dataset._chosen(dataset._found(), split)) for split in SPLITS} == published
