"""Where a command is told to write is checked before the work, and every refusal is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands import main
from bench.errors import UsageError
from bench.files import check_folder

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
SUITE = "".join(
    f'{kind}s = ["{name}"]\n' for kind, name in (("dataset", "tones"), ("defense", "hiss"), ("attacker", "linear"))
) + "".join(
    f"[{kind}.{name}]\nplugin = '{PLUGINS}/{name}.py'\n"
    for kind, name in (("dataset", "tones"), ("defense", "hiss"), ("attacker", "linear"))
)


def test_a_folder_that_can_be_made_is_left_unmade(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300, "a\0b", "/proc/none"])
def test_a_folder_that_cannot_be_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as error:
        check_folder(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ["matrix", "s.toml", "--page", "no/x.md"],
        ["matrix", "s.toml", "--page", "."],
        ["matrix", "s.toml", "--page", "n" * 300 + ".md"],
        ["matrix", "s.toml", "--records", "s.toml"],
        ["matrix", "s.toml", "--records", "s.toml/below"],
        ["gate", "--suite", "s.toml", "--accept", "first", "--junit", "no/x.xml"],
        ["gate", "--suite", "s.toml", "--accept", "first", "--baseline", "no/b.json"],
        ["leaderboard", "s.toml", "--out", "s.toml"],
        ["leaderboard", "s.toml", "--out", "."],
        ["listen", "digits-smoke", "--out", "s.toml"],
        ["listen", "digits-smoke", "--out", "."],
        ["export", "digits-smoke", "--to", "tensorboard", "--out", "s.toml"],
        ["export", "digits-smoke", "--to", "mlflow", "--out", "s.toml/below"],
    ],
)
def test_nothing_is_done_where_the_result_could_not_be_written(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    (tmp_path / "s.toml").write_text(SUITE)
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]
