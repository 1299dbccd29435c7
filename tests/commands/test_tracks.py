"""Tracks from the command line: all rows, one row beside those that are there, a search for a better response."""

import tomllib
from pathlib import Path

import pytest

from bench.commands import main
from bench.errors import UsageError
from bench.results import reading
from bench.results.suite import read
from tests.factories import PLUGINS, suite_text

HEAD = """
track = 1
seeds = [0, 1]
defenses = ["clean", "hiss"]
adaptations = ["none", "quieter", "halves"]
knowledge = ["ensemble"]
bag = ["linear"]
"""
TABLES = f"""
[defense.hiss]
plugin = "{PLUGINS / "hiss.py"}"
[adaptation.quieter]
plugin = "{PLUGINS / "quieter.py"}"
[adaptation.halves]
plugin = "{PLUGINS / "halves.py"}"
[threat]
published = 12
granted = 6
sizes = [6]
[[round]]
effort = 0.5
keep = 2
[size.smoke]
seeds = [0]
adaptations = ["none", "halves"]
"""
LABELS = str(PLUGINS / "labels.py")


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main([*words, "--display", "none"])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A track of the linear attacker, in a store of its own."""
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_IN_PROCESS", "1")
    path = tmp_path / "tracks" / "tones.toml"
    path.parent.mkdir()
    path.write_text(suite_text(HEAD, TABLES))
    return path


def test_all_rows_then_one_more_beside_them(track: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("matrix", str(track), "--jobs", "1") in (0, 3)  # so few items may leave rows void
    folder = track.parents[1] / "records" / "tones"
    assert {record.trial.row for record in reading.load_all(folder)} == {"clean", "hiss"}
    shown = capsys.readouterr()
    assert "what the attacker tried" in shown.out
    assert "2 of 3 responses go on" in shown.err
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert bench("run", "--track", str(track), "--defense", LABELS, "--jobs", "1") in (0, 3)
    shown = capsys.readouterr()
    assert {"labels", "hiss", "clean"} <= set(shown.out.split())
    assert "clean items of" not in shown.err  # the clean curve that is there is taken
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_removes_no_file_that_is_not_of_its_rows(track: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.json").write_text("{}")
    old = folder / "tones--hiss--ensemble--linear--mp3--s0.json"
    old.write_text("{}")
    assert bench("matrix", str(track), "--records", str(folder), "--jobs", "1") in (0, 3)
    assert (folder / "notes.json").read_text() == "{}"
    assert not old.exists()


def test_sizes_replace_keys_and_leave_out_what_they_do_not_name(track: Path) -> None:
    small, smoke = read(track), read(track, "smoke")
    assert (small.preset, smoke.preset) == ("small", "smoke")
    assert (small.seeds, smoke.seeds) == ([0, 1], [0])
    assert set(small.adaptation) == {"quieter", "halves"}
    assert set(smoke.adaptation) == {"halves"}
    assert smoke.round == small.round
    track.write_text(track.read_text().replace("[size.smoke]", "[size.smok]"))
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        read(track)


def test_a_search_says_what_it_found_beside_the_tracks_own_choice(
    track: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "found.toml"
    words = ("attack", "--track", str(track), "--defense", "hiss", "--budget", "5", "--jobs", "1", "--out", str(out))
    assert bench(*words) == 0
    shown = capsys.readouterr().out
    assert "the track" in shown
    assert "the search (" in shown
    found = tomllib.loads(out.read_text())
    assert found["adaptations"]
    assert all(set(name.split("+")) <= {"none", "quieter", "halves"} for name in found["adaptations"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--track", "TRACK"), "needs --defense"),
        (("run", "--track", "TRACK", "--defense", "clean", "--attacker", "m5"), "--attacker is decided by the track"),
        (("run", "--track", "TRACK", "--defense", "clean", "--seeds", "2"), "--seeds is decided by the track"),
        (("run", "--track", "specch", "--defense", "clean"), "did you mean 'speech'"),
        (("run", "--exhaustive", "--attacker", "m5"), "--exhaustive goes with --track"),
        (("attack", "--track", "TRACK", "--defense", "hiss", "--budget", "0"), "expected 1 or more"),
    ],
)
def test_what_a_track_does_not_take_is_one_line(
    words: tuple[str, ...], message: str, track: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*(str(track) if word == "TRACK" else word for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_keys_that_contradict_each_other_are_refused(track: Path) -> None:
    text = track.read_text()
    for old, new, message in (
        ("track = 1", "track = 0", r"\[\[round\]\] is for tracks"),
        ("track = 1", "track = 1\nscore = 1", "score 1 has no threat model|a track is ranked by score 2"),
        ("[threat]", '[responses]\nlinaer = ["none"]\n[threat]', "did you mean 'linear'"),
        ("[threat]", '[responses]\nlinear = ["halve"]\n[threat]', "did you mean 'halves'"),
        ("keep = 2", "keep = 0", "greater than or equal to 1"),
    ):
        assert old in text
        track.write_text(text.replace(old, new, 1))
        with pytest.raises(UsageError, match=message):
            read(track)
