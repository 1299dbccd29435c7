"""What counts of a plugin's source, what its file is called, and what its digest covers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import plugins, sources
from bench.errors import PluginError
from bench.trials.remote import _files, _write_files
from bench.trials.resolving import resolve

FILE = '''"""A whisper."""
from dataclasses import dataclass
from bench.api import Clips, Defense
from bench.sound.masking import threshold_in_quiet

@dataclass(frozen=True)
class Whisper(Defense[Clips]):
    level: float = 0.25

    def protect(self, data, knowledge, rng):
        return data
'''
ENTRY = '''"""A choir."""
from dataclasses import dataclass
from bench.api import Clips, Defense
from . import voices

@dataclass(frozen=True)
class Choir(Defense[Clips]):
    level: float = 0.25

    def protect(self, data, knowledge, rng):
        from .late import breath
        return data
'''


def digest(name: str) -> str:
    plugins.digest.cache_clear()
    return plugins.digest("defenses", name)


@pytest.fixture
def whisper(tmp_path: Path) -> str:
    (tmp_path / "whisper.py").write_text(FILE)
    return str(tmp_path / "whisper.py")


@pytest.fixture
def choir(tmp_path: Path) -> Path:
    """A plugin in a folder: two modules that it imports, one of them late, a third through these, and data."""
    folder = tmp_path / "choir"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text(ENTRY)
    (folder / "voices.py").write_text("from .tuning import A4\n")
    (folder / "late.py").write_text("breath = 1\nSCRIPT = 'speak.py'\n")
    (folder / "speak.py").write_text("print(1)\n")
    (folder / "tuning.py").write_text("A4 = 440.0\n")
    (folder / "pretrain.py").write_text("from . import corpus\n")
    (folder / "corpus.py").write_text("FILES = ()\n")
    (folder / "weights" / "model.bin").write_bytes(b"\x00\r\n")
    (folder / "config.json").write_text("{}\n")
    (folder / "MODEL_CARD.md").write_text("A card.\n")
    return folder


# --- names


@pytest.mark.parametrize("spelled", ["choir", "choir/", "./choir", "choir/__init__.py"])
def test_a_folder_plugin_is_called_by_its_folder(choir: Path, spelled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(choir.parent)
    part = resolve("defenses", spelled, {})
    assert part.title == part.identity["name"] == "choir"
    assert part.identity == resolve("defenses", str(choir), {}).identity
    monkeypatch.chdir(choir)
    assert resolve("defenses", "__init__.py", {}).identity == part.identity


def test_a_known_name_is_no_folder_and_an_unknown_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "__init__.py").write_text(FILE)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert plugins.find("defenses", "noise").origin == "built in"
    assert plugins.find("defenses", "./noise").origin == "file"
    with pytest.raises(PluginError, match="unknown defense 'empty'"):
        plugins.find("defenses", "empty")


def test_a_folder_plugin_travels_whole_under_its_name(
    choir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = resolve("defenses", str(choir), {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "there"))
    (tmp_path / "there").mkdir()
    arrived = _write_files(part, _files(part))
    assert resolve("defenses", str(arrived), {}).identity == part.identity
    assert arrived.parent.name == "choir"


def test_the_mark_of_utf8_does_not_hide_a_summary_or_an_import(tmp_path: Path, whisper: str) -> None:
    marked = tmp_path / "marked" / "whisper.py"
    marked.parent.mkdir()
    marked.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert plugins.find("defenses", str(marked)).summary == "A whisper."
    assert digest(str(marked)) == digest(whisper)


# --- digests


def test_the_digest_is_of_the_files_content_alone(tmp_path: Path, whisper: str) -> None:
    first = digest(whisper)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "whisper.py"
    moved.write_bytes(Path(whisper).read_bytes().replace(b"\n", b"\r\n"))
    assert digest(str(moved)) == first, "neither the place nor the line ends count"
    Path(whisper).write_text(FILE.replace("0.25", "0.26"))
    assert digest(whisper) != first


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('"""', '"""Another first sentence. ', False),  # of the module's docstring, the first there is
        ("\n@dataclass", "\n\n# why it is so\n@dataclass", False),
        ("level: float = 0.25", "level: float = 0.25  # of full scale", False),
        ("level: float = 0.25", 'level: float = 0.25\n    name: str = "# no comment"', True),
        ("level: float = 0.25", 'level: float = 0.25\n    name: str = """\n    a text that is no docstring"""', True),
        ("level: float = 0.25", "level: float = 0.250", True),  # the same number: erring on this side is safe
    ],
)
def test_the_digest_leaves_out_what_computes_nothing(whisper: str, old: str, new: str, counts: bool) -> None:
    first = digest(whisper)
    assert old in FILE
    Path(whisper).write_text(FILE.replace(old, new, 1))
    assert (digest(whisper) != first) == counts


def test_of_a_file_that_cannot_be_parsed_every_byte_counts(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def (:  # no Python\n")
    assert b"".join(sources._content(broken)) == broken.read_bytes()


@pytest.mark.parametrize(
    ("imported", "edited", "counts"),
    [
        ("from bench.sound.masking import threshold_in_quiet", "bench.sound.masking", True),
        ("import bench.sound.masking", "bench.sound.masking", True),
        ("from bench.sound import masking", "bench.sound.masking", True),
        ("from bench.sound import heard", "bench.sound.masking", True),  # passed on by the package
        ("from bench.sound import heard", "bench.sound.codecs", False),
        ("from bench.sound.codecs import mp3", "bench.sound.decoding", True),  # through codecs
        ("from bench.training.learning import fit", "bench.training.learning", True),
        ("from bench.sound.masking import threshold_in_quiet", "bench.sound.codecs", False),
        ("from bench.api import Clips", "bench.api", False),
    ],
)
def test_the_digest_changes_with_the_modules_of_bench_that_are_imported(
    tmp_path: Path, whisper: str, monkeypatch: pytest.MonkeyPatch, imported: str, edited: str, counts: bool
) -> None:
    Path(whisper).write_text(FILE.replace("from bench.sound.masking import threshold_in_quiet", imported))
    package = Path(sources.__file__).parent
    copy = tmp_path / "bench"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "sound" / "__init__.py").write_text("from bench.sound.masking import threshold_in_quiet as heard\n")
    monkeypatch.setattr(sources, "__file__", str(copy / "sources.py"))
    before = digest(whisper)
    file = sources._bench_file(edited)
    file.write_text(file.read_text() + "\nCHANGED = True\n")
    assert (digest(whisper) != before) == counts
    plugins.digest.cache_clear()


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("__init__.py", True),
        ("voices.py", True),
        ("late.py", True),  # imported inside a function
        ("tuning.py", True),  # imported by a module that is imported
        ("speak.py", True),  # run by its name
        ("weights/model.bin", True),
        ("config.json", True),
        ("vocabulary.txt", True),  # new data
        ("MODEL_CARD.md", False),
        ("LICENSE", False),
        ("pretrain.py", False),  # a script that nothing imports, and what it alone imports
        ("corpus.py", False),
        ("unused.py", False),
        (".cache/x", False),
        ("__pycache__/x.pyc", False),
        ("voices.py~", False),
    ],
)
def test_the_digest_of_a_folder_covers_what_it_can_import_and_its_data(choir: Path, edited: str, counts: bool) -> None:
    before = digest(str(choir))
    file = choir / edited
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((file.read_bytes() if file.is_file() else b"") + b"\nCHANGED = 1\n")
    assert (digest(str(choir)) != before) == counts


@pytest.mark.parametrize("line", ["import importlib", "from importlib import import_module", "__import__('x')"])
def test_where_imports_cannot_be_seen_every_module_counts(choir: Path, line: str) -> None:
    (choir / "tuning.py").write_text(f"{line}\nA4 = 440.0\n")
    before = digest(str(choir))
    (choir / "unused.py").write_text("x = 1\n")
    assert digest(str(choir)) != before


def test_a_module_by_its_full_name_counts_in_a_built_in_folder(choir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = choir.parent / "home"
    (home / "defenses").mkdir(parents=True)
    choir.rename(home / "defenses" / "choir")
    own = home / "defenses" / "choir"
    (own / "__init__.py").write_text(
        ENTRY.replace("from . import voices", "from bench.defenses.choir.voices import A4")
    )
    monkeypatch.setattr(plugins, "home", lambda: home)
    before = digest("choir")
    (own / "tuning.py").write_text("A4 = 442.0\n")
    assert digest("choir") != before
    before = digest("choir")
    (own / "corpus.py").write_text("FILES = (1,)\n")
    assert digest("choir") == before


def test_a_plugin_of_a_package_counts_the_modules_of_its_package_that_it_imports(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    for name, text in {
        "hum": "from .tools import a\nfrom mine.more import b",
        "tools": "a = 1",
        "more": "b = 1",
    }.items():
        (package / f"{name}.py").write_text(text + "\n")
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("c = 1\n")
    found = sources.counted_files(package / "hum.py", package, "mine")
    assert [file.name for file in found] == ["hum.py", "more.py", "tools.py"]


def test_a_file_that_cannot_be_read_is_one_line(choir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(choir / "config.json"))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PluginError, match=r"config\.json cannot be read: Permission denied"):
        digest(str(choir))
