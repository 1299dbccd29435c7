"""A plugin's class declares what the contract knows: every other name is refused at load, with the nearest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from bench import plugins
from bench._kit import sets
from bench.api import Adaptation, Attacker, Clips, Control, Dataset, Defense, Epoch
from bench.errors import PluginError, UsageError
from bench.vocabulary import DOMAINS, Kind

HEAD = "from dataclasses import dataclass\nfrom bench.api import *\n\n@dataclass(frozen=True)\n"
DEFENSE = HEAD + "class Mine(Defense[Clips]):\n    level: float = 0.1\n{}\n"
PROTECT = "    def protect(self, data, knowledge, rng): return data\n"


def refusal(tmp_path: Path, text: str, kind: Kind = "defenses") -> str:
    """The line that loading a file with this text gives, or nothing."""
    file = tmp_path / "mine.py"
    file.write_text(text)
    try:
        plugins.load(kind, str(file))
    except PluginError as error:
        said = str(error)
    else:
        return ""
    assert "\n" not in said
    assert "mine.py" in said
    return said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("control = Control.CLEAN", ""),
        ("joint = True", ""),
        ("epsilon: float = 0.1", ""),
        ("padding: bool = True", ""),
        ("_LIMIT = 3", ""),
        ("def _helper(self): ...", ""),
        ("contol = Control.CLEAN", "unknown class attribute 'contol': did you mean 'control'?"),
        ("domain = ('audio',)", "unknown class attribute 'domain': did you mean 'domains'?"),
        ("pers = 'class'", "unknown class attribute 'pers': did you mean 'per'?"),
        ("LIMIT = 3", "unknown class attribute 'LIMIT'"),
        (
            "bands = 64",
            "unknown class attribute 'bands': as a parameter write 'bands: int = 64', as a constant '_bands'",
        ),
        ("per = 'song'", "per = 'song': input should be 'clip', 'class' or 'set'"),
        (
            "def protect(self, data, knowledge): ...",
            "protect takes (self, data, knowledge), expected (self, data, knowl",
        ),
        ("def protect(self, clips, known, generator): ...", ""),
        ("def fingerprint(self, deep): ...", "fingerprint takes (self, deep), expected (self)"),
        ("class Inner: ...", "unknown class attribute 'Inner'"),
        ("control = 'clean'", "control = 'clean': expected one of Control.NONE, Control.CLEAN"),
        ("joint = 'yes'", "joint = 'yes': input should be a valid boolean"),
        ("joint: bool = True", "'joint' is an attribute of the contract and no parameter"),
        ("needs = 4", "needs = 4: "),
        ("domains = ('mdi',)", "input should be 'audio' or 'midi'"),
        ("domains = ('midi',)", 'the class is Defense[Clips]: expected domains = ("audio",)'),
        ("def inventry(self): ...", "unknown method 'inventry': did you mean 'inventory'?"),
        ("def worst(self): ...", "unknown method 'worst'"),
        ("def joint(self): ...", "'joint' is an attribute of the contract, found a method"),
        ("inventory = 3", "'inventory' is a method of the contract, found 3"),
    ],
)
def test_a_defense_declares_what_the_base_declares(tmp_path: Path, line: str, said: str) -> None:
    found = refusal(tmp_path, DEFENSE.format(PROTECT + f"    {line}"))
    assert (said in found) if said else not found, found


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (HEAD + "class Mine:\n" + PROTECT, "defenses", "'class Mine(Defense[Clips])' (docs/writing-a-defense.md)"),
        (
            HEAD + "class Mine:\n    domains = ('midi',)\n    def load(self, split): ...\n",
            "datasets",
            "import Dataset from bench.api and write 'class Mine(Dataset[Rolls])'",
        ),
        (HEAD + "class Mine(Defense[Clips]): ...\n", "defenses", "class Mine lacks the method protect"),
        (HEAD + "class Mine(Adaptation[Clips]): ...\n", "adaptations", "overrides none of transform, augment, train"),
        (
            HEAD + "class Mine(Attacker[Clips]):\n    def model(self, like, rng): ...\n    def loss(self, m, b): ...\n",
            "attackers",
            "class Mine lacks the methods learn, quality",
        ),
        (DEFENSE.format(PROTECT).replace("(frozen=True)", ""), "defenses", "must be a frozen dataclass"),
    ],
)  # fmt: skip
def test_a_class_of_version_1_or_half_a_class_is_told_what_to_change(
    tmp_path: Path, text: str, kind: Kind, said: str
) -> None:
    assert said in refusal(tmp_path, text, kind)


def test_gates_of_version_1_are_named(tmp_path: Path) -> None:
    body = "".join(f"    def {name}(self, *a, **k): ...\n" for name in ("model", "loss", "learn", "quality", "gates"))
    found = refusal(tmp_path, HEAD + "class Mine(Attacker[Clips]):\n" + body, "attackers")
    assert "unknown method 'gates': did you mean 'validity'?" in found


def test_optional_methods_are_methods_and_say_whether_they_are_overridden() -> None:
    reader = sets.Reader()
    assert not reader.implements("generate")
    with pytest.raises(NotImplementedError, match="Reader does not generate"):
        reader.generate(torch.nn.Linear(1, 1), sets.tones(1), Generator())
    assert reader.validity({}, {}) == ()
    assert (reader.inventory(), reader.fingerprint()) == ({}, "")
    with pytest.raises(AttributeError, match="'generates' is no optional method of Reader"):
        reader.implements("generates")


def test_an_adaptation_without_a_hook_leaves_all_as_it_is_and_trains_by_learn() -> None:
    @dataclass(frozen=True)
    class Softer(Adaptation[Clips]):
        def augment(self, batch: Clips, rng: Generator) -> Clips:
            return batch.with_audio(batch.audio * 0.5)

    clips = sets.tones(4)
    lines: list[Epoch] = []
    adaptation, reader = Softer(), sets.Reader(epochs=1)
    assert adaptation.transform(clips, Generator()) is clips
    adaptation.train(reader, clips, clips, Generator().manual_seed(0), log=lines.append)
    plain: list[Epoch] = []
    reader.learn(clips, clips, Generator().manual_seed(0), log=plain.append)
    assert lines[0].step == plain[0].step == 1
    assert lines[0].loss != plain[0].loss, "each batch was augmented"


def test_a_line_of_a_log_holds_what_was_measured() -> None:
    assert Epoch(0, validation=0.0).numbers() == {"step": 0, "validation": 0.0}
    assert Epoch(3, 0.5, -1.0, {"critic": 2.0}).numbers() == {"step": 3, "critic": 2.0, "loss": 0.5, "validation": -1.0}


@pytest.mark.parametrize("base", [Dataset, Defense, Attacker, Adaptation])
def test_a_base_alone_is_no_plugin(base: Any) -> None:
    if base is not Adaptation:
        with pytest.raises(TypeError, match="abstract"):
            base()


def test_controls_are_words_of_records() -> None:
    assert json.dumps(list(Control)) == '["", "clean", "matched", "scramble"]'
    assert [control for control in Control if control.is_clean] == [Control.CLEAN]
    assert [control for control in Control if control.is_matched] == [Control.MATCHED]
    assert set(DOMAINS) == {"audio", "midi"}


@pytest.mark.parametrize(("last", "fits"), [("", False), (", **more", True), (", *, log, more=1", True)])
def test_a_method_that_lacks_a_keyword_of_the_contract_is_refused(tmp_path: Path, last: str, fits: bool) -> None:
    train = f"    def train(self, attacker, train, validation, rng{last}): ...\n"
    answer = refusal(tmp_path, HEAD + "class Mine(Adaptation[Clips]):\n" + train, "adaptations")
    assert ("expected (self, attacker, train, validation, rng, *, log)" in answer) != fits
    assert fits == (not answer)


@pytest.mark.parametrize("error", ["ValueError", "UsageError"])
def test_a_refused_parameter_names_the_plugin_whatever_it_raises(tmp_path: Path, error: str) -> None:
    file = tmp_path / "mine.py"
    post = f"    def __post_init__(self):\n        raise {error}('level is too high')\n"
    file.write_text("from bench.errors import UsageError\n" + DEFENSE.format(PROTECT + post))
    with pytest.raises(UsageError, match=r"^defense '[^']*mine.py': level is too high$"):
        plugins.build("defenses", str(file))
