"""What a class declares is read from its source where that is plain, and left to the import where it is not."""

import dataclasses
from pathlib import Path

import pytest

from bench import plugins
from bench.literals import declared
from bench.vocabulary import Kind

HEAD = '''"""A defense."""
from dataclasses import dataclass
from typing import ClassVar, Literal
from bench.api import Clips, Defense
import torch_is_not_imported_by_reading
'''
PLAIN = '''
@dataclass(frozen=True)
class Hum(Defense[Clips]):
    """A hum."""
    domains = ("audio",)
    paper: ClassVar[str] = "nobody 2024"
    epsilon: float = 0.01
    count: int = 3
    mode: Literal["soft", "loud"] = "soft"
    several: tuple[int, ...] = ()
    def protect(self, data, knowledge, rng):
        return data
'''


def read(folder: Path, text: str) -> Path:
    file = folder / "hum.py"
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", list(plugins.FOLDERS))
def test_the_source_of_every_plugin_of_ours_says_what_its_class_says(kind: Kind) -> None:
    for name, listing in plugins.names(kind).items():
        if listing.origin != "built in":
            continue
        assert listing.path is not None
        literals = declared(listing.path, plugins.SINGULAR[kind].capitalize())
        cls = plugins.load(kind, name)
        assert literals is not None, name
        assert list(literals.fields) == [field.name for field in dataclasses.fields(cls)], name
        for attribute, value in literals.attributes.items():
            assert value is None or value == getattr(cls, attribute), (name, attribute)
        assert literals.attributes["domains"] == cls.domains, name


def test_parameters_have_their_plain_types(tmp_path: Path) -> None:
    literals = declared(read(tmp_path, HEAD + PLAIN), "Defense")
    assert literals is not None
    assert list(literals.fields) == ["epsilon", "count", "mode", "several"]
    assert [literals.fields[name] for name in ("epsilon", "count", "several")] == [float, int, None]
    assert literals.fields["mode"].__args__ == ("soft", "loud")
    assert literals.attributes == {"domains": ("audio",), "paper": "nobody 2024"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Defense[Clips]", "Hiss"),
        ("Defense[Clips]", "Defense[Clips], Mixin"),
        ("from bench.api import Clips, Defense", "from elsewhere import Clips, Defense"),
        ("@dataclass(frozen=True)\n", ""),
        ("    epsilon: float = 0.01\n", "    if True:\n        epsilon: float = 0.01\n"),
        ("    epsilon: float = 0.01\n", "    epsilon: InitVar[float] = 0.01\n"),
        ("return data\n", "return data\nHum.domains = ('midi',)\n"),
        ("return data\n", "return data\n@dataclass\nclass Other(Defense[Clips]):\n    pass\n"),
        ("return data\n", "return data\n)"),
    ],
)
def test_what_only_an_import_can_tell_is_not_guessed(tmp_path: Path, old: str, new: str) -> None:
    text = HEAD + PLAIN
    assert old in text
    assert declared(read(tmp_path, text.replace(old, new)), "Defense") is None


@pytest.mark.parametrize(
    ("set_by", "value"),
    [
        ("BASE = {'snr_db': 20.0}\nMORE = {**BASE, 'pesq': 3.0}\n", {"snr_db": 20.0, "pesq": 3.0}),
        ("MORE = {'pesq': 3.0}\nMORE = {'pesq': 4.0}\n", None),
        ("MORE = {'pesq': 3.0}\ndef change():\n    global MORE\n", None),
        ("MORE = dict(pesq=3.0)\n", None),
    ],
)
def test_a_name_of_the_module_for_a_literal_is_read(tmp_path: Path, set_by: str, value: object) -> None:
    text = HEAD + set_by + PLAIN.replace('("audio",)', "MORE")
    literals = declared(read(tmp_path, text), "Defense")
    assert literals is not None
    assert literals.attributes["domains"] == value


def test_a_computed_attribute_is_none_and_a_missing_file_too(tmp_path: Path) -> None:
    literals = declared(read(tmp_path, HEAD + PLAIN.replace('("audio",)', "tuple(['audio'])")), "Defense")
    assert literals is not None
    assert literals.attributes["domains"] is None
    assert declared(tmp_path / "absent.py", "Defense") is None
