"""The conformance kit passes what keeps the contract, and names what a broken plugin breaks."""

import importlib
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench._kit import sets
from bench.api import (
    Adaptation,
    Attacker,
    Clips,
    Control,
    Data,
    Dataset,
    Defense,
    Epoch,
    Knowledge,
    Rolls,
    ValidityCheck,
)
from bench.check import Skipped, checks, outcome
from bench.errors import DataError
from bench.vocabulary import Kind

Protect = Callable[[Any, Clips, Knowledge, Generator], Clips]


def hiss(data: Clips, rng: Generator, level: float = 0.01) -> Tensor:
    return level * torch.randn(data.audio.shape, generator=rng, device=data.device).clamp(-1, 1) * data.support


@dataclass(frozen=True)
class Hiss(Defense[Clips]):
    per = "clip"
    epsilon: float = 0.01

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        return data.with_audio((data.audio + hiss(data, rng, self.epsilon)).clamp(-1, 1))


def defense(protect: Protect, fields: Mapping[str, Any] | None = None, **attributes: Any) -> Any:
    """A defense that does that, of the class's attributes and the fields given."""
    given = [(name, type(value), field(default=value)) for name, value in (fields or {}).items()]
    space = {"protect": protect, "__module__": __name__, **attributes}
    return make_dataclass("Broken", given, bases=(Defense[Clips],), namespace=space, frozen=True)()


def failed(kind: Kind, plugin: Any) -> dict[str, str]:
    """The checks that fail, and their sentences."""
    outcomes = [outcome(check) for check in checks(kind, plugin)]
    return {end.check.name: end.reason for end in outcomes if end.status == "failed"}


def statuses(kind: Kind, plugin: Any) -> dict[str, str]:
    return {check.name: outcome(check).status for check in checks(kind, plugin)}


# --- defenses


def test_a_good_defense_passes_and_no_check_is_without_a_meaning() -> None:
    found = [outcome(check) for check in checks("defenses", Hiss())]
    assert [(end.check.name, end.reason) for end in found if end.status != "passed"] == []
    assert "matches its reference" not in {end.check.name for end in found}, "what does not apply is left out"
    assert all(end.check.meaning for end in found)
    assert len({end.check.name for end in found}) == len(found) > 20


def unpadded(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio((data.audio + 0.01 * torch.randn(data.audio.shape, generator=rng)).clamp(-1, 1))


def loud(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio(data.audio * 1.5 + hiss(data, rng))


def with_nan(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    peak = data.audio.abs().amax((1, 2), keepdim=True)
    return data.with_audio(data.audio / peak * 0.5 + hiss(data, rng))


def in_place(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    data.audio.add_(hiss(data, rng)).clamp_(-1, 1)
    return data


def global_noise(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    noise = 0.01 * torch.randn(data.audio.shape).clamp(-1, 1) * data.support
    return data.with_audio((data.audio + noise).clamp(-1, 1))


def python_noise(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    random.random()
    return Hiss().protect(data, knowledge, rng)


def fixed_noise(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return Hiss().protect(data, knowledge, Generator().manual_seed(3))


def of_the_mean(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    scaled = hiss(data, rng) * (1 + 100 * data.audio.square().mean())
    return data.with_audio((data.audio + scaled).clamp(-1, 1))


def shuffled(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    mixed = data.audio.roll(1, 0) * data.support
    return data.with_audio((mixed + hiss(data, rng)).clamp(-1, 1))


def renamed(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return replace(Hiss().protect(data, knowledge, rng), ids=tuple(f"x{name}" for name in data.ids))


def mono(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return Hiss().protect(data.with_audio(data.audio.mean(1, keepdim=True)), knowledge, rng)


def attached(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio((data.audio + hiss(data, rng)).clamp(-1, 1).requires_grad_())


def nothing(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio(data.audio.clone())


def telephoning(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    try:
        socket.create_connection(("example.org", 80), timeout=1)
    except OSError:
        return Hiss().protect(data, knowledge, rng)
    raise AssertionError("the network was reached")


def lone(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    if len(data) < 2:
        raise ValueError("needs two clips")
    return Hiss().protect(data, knowledge, rng)


def stems_as_they_were(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio(Hiss().protect(data, knowledge, rng).audio * 0.9, data.stems)


def on_the_processor(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
    return data.with_audio(data.audio * torch.ones(data.audio.shape[-1]))


BROKEN: list[tuple[str, Any, str]] = [
    ("works on the device of its data", defense(on_the_processor), "creates a tensor without device= (test_check.py:"),
    ("leaves the padding silent", defense(unpadded), "the padding has samples"),
    ("stays in range", defense(loud), "peaks at"),
    ("takes silence", defense(with_nan), "NaN"),
    ("leaves its input alone", defense(in_place), "changed the set"),
    ("same seed same bits", defense(global_noise), "other bits"),
    ("leaves global generators alone", defense(global_noise), "torch"),
    ("leaves global generators alone", defense(python_noise), "random"),
    ("other seed other bits", defense(fixed_noise), "deterministic = True"),
    ("other seed other bits", defense(Hiss.protect, {"epsilon": 0.01}, deterministic=True), "declares"),
    ("depends on its own clip only", defense(of_the_mean), "when only other clips were changed"),
    ("keeps each clip in its place", defense(shuffled), "is most similar to clean clip"),
    ("keeps the set", defense(renamed), "ids is"),
    ("takes stereo", defense(mono), "shape"),
    ("keeps the set", defense(attached), "gradient"),
    ("changes what an attacker reads", defense(nothing), "is unchanged, expected every clip"),
    (
        "changes what an attacker reads",
        defense(Hiss.protect, {"epsilon": 0.01}, control=Control.CLEAN),
        "control = 'clean'",
    ),
    (
        "matches its reference",
        defense(Hiss.protect, {"epsilon": 0.01}, control=Control.MATCHED),
        "its noise differs by",
    ),
    ("needs no network", defense(telephoning), "it tried to connect"),
    ("takes one", defense(lone), "ValueError: needs two clips"),
    ("stays within epsilon", defense(unpadded, {"epsilon": 0.005}), "at most epsilon"),
    ("stems still add up", defense(stems_as_they_were), "the sum of the stems differs"),
    ("presets build", defense(nothing, presets={"smoke": {"level": 1}}), "level"),
    ("fits the contract", defense(nothing, domains=["audio"]), "domains = ['audio']: input should be a valid tuple"),
    ("fits the contract", defense(nothing, contol=Control.CLEAN), "'contol': did you mean 'control'?"),
    ("parameters survive json", defense(nothing, {"level": float("nan")}), "JSON"),
]


@pytest.mark.parametrize(("name", "plugin", "sentence"), BROKEN, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(BROKEN)])
def test_a_broken_defense_fails_the_check_of_what_it_breaks(name: str, plugin: Any, sentence: str) -> None:
    check = next(check for check in checks("defenses", plugin) if check.name == name)
    end = outcome(check)
    assert end.status == "failed"
    assert sentence in end.reason
    assert "\n" not in end.reason


def test_declared_properties_are_held_to_their_own_rule() -> None:
    joint = statuses("defenses", defense(of_the_mean, joint=True))
    assert "depends on its own clip only" not in joint
    assert joint["declares its scope"] == "skipped"
    assert statuses("defenses", defense(fixed_noise, deterministic=True))["other seed other bits"] == "passed"
    assert "failed" not in statuses("defenses", defense(nothing, control=Control.CLEAN)).values()


def test_a_crash_passes_through_run_with_its_traceback() -> None:
    check = next(check for check in checks("defenses", defense(lone)) if check.name == "takes one")
    with pytest.raises(ValueError, match="needs two clips"):
        check.run()


def test_a_missing_package_is_a_reason_to_skip() -> None:
    def imports(self: Any, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        importlib.import_module("no_such_package_of_anyones")
        return data

    check = next(check for check in checks("defenses", defense(imports)) if check.name == "takes one")
    with pytest.raises(Skipped, match="no_such_package_of_anyones"):
        check.run()


def test_heavy_imports_and_docstrings_are_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(
        f'"""{"A long first line. " * 8}"""\nimport ast\nif True:\n    import music21.note\n'
        "from dataclasses import dataclass\nfrom bench.api import Clips, Defense\n\n"
        "@dataclass(frozen=True)\nclass Slow(Defense[Clips]):\n"
        "    def protect(self, data, knowledge, rng):\n        import librosa\n        return data\n"
    )
    found = failed("defenses", plugins.build("defenses", str(file)))
    assert "imports music21 at its top" in found["heavy libraries are imported late"]
    assert "at most 100" in found["first line fits a table"]


# --- attackers


@dataclass(frozen=True)
class Changed(Attacker[Data]):
    """The tiny attacker with other methods."""

    domains = ("midi",)

    inner: sets.Reader = field(default_factory=sets.Reader)

    def model(self, like: Any, rng: Generator) -> nn.Module:
        return self.inner.model(like, rng)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.inner.loss(model, batch)

    def learn(self, train: Any, validation: Any, rng: Generator, **hooks: Any) -> nn.Module:
        return self.inner.learn(train, validation, rng, **hooks)

    def quality(self, model: nn.Module, test: Any) -> Mapping[str, Tensor]:
        return self.inner.quality(model, test)


def attacker(**methods: Any) -> Any:
    return type("Other", (Changed,), {"__module__": __name__, **methods})()


def test_the_tiny_attacker_passes_in_both_domains() -> None:
    found = statuses("attackers", sets.Reader())
    assert "failed" not in found.values()
    assert found["learns clean data (audio)"] == found["learns clean data (midi)"] == "passed"
    assert "generates (midi)" not in found


def unlearning(self: Any, train: Any, validation: Any, rng: Generator, *, log: Any, **_: Any) -> nn.Module:
    log(Epoch(1, 0.0))
    model: nn.Module = self.model(train, rng)
    return model


def careless(self: Any, train: Any, validation: Any, rng: Generator, **hooks: Any) -> nn.Module:
    seed = hash(torch.get_rng_state().numpy().tobytes()) % 2**31
    return self.inner.learn(train, validation, Generator().manual_seed(seed), **hooks)  # type: ignore[no-any-return]


def never_moved(self: Any, like: Any, rng: Generator) -> nn.Module:
    bands = sets.frames(like.select([0])).shape[1]
    return nn.Sequential(nn.Conv1d(bands, 32, 4), nn.ReLU(), nn.Conv1d(32, bands, 1))


def made_on_the_processor(self: Any, train: Any, validation: Any, rng: Generator, **hooks: Any) -> nn.Module:
    order = torch.arange(len(train)).flip(0)
    return self.inner.learn(train.select(order.tolist()), validation, rng, **hooks)  # type: ignore[no-any-return]


BROKEN_ATTACKERS: list[tuple[str, Any, str]] = [
    ("loss is one number an item", attacker(loss=lambda s, m, b: s.inner.loss(m, b).mean()), "shape ()"),
    ("loss is one number an item", attacker(loss=lambda s, m, b: s.inner.loss(m, b) / 0), "finite"),
    (
        "loss can be descended",
        attacker(loss=lambda s, m, b: s.inner.loss(m, replace(b, velocity=(b.velocity * 127).round() / 127))),
        "zero everywhere",
    ),
    ("makes a model", attacker(model=lambda s, like, rng: nn.Linear(2, 2)), "other weights"),
    ("makes a model", attacker(model=lambda s, like, rng: nn.ReLU()), "no parameter"),
    ("builds by the generator alone", attacker(model=lambda s, like, rng: nn.Linear(2, 2)), ""),
    ("quality is one number an item", attacker(quality=lambda s, m, t: {}), "no metric"),
    ("quality is one number an item", attacker(quality=lambda s, m, t: {"x": torch.zeros(1)}), "shape (1,)"),
    ("works on the device of its data", attacker(model=never_moved), "never moves its network"),
    (
        "works on the device of its data",
        attacker(quality=lambda s, m, t: {"x": s.inner.loss(m, t) + torch.zeros(len(t))}),
        "quality creates a tensor without device=",
    ),
    (
        "learns on the device of its data",
        attacker(learn=made_on_the_processor),
        "learn creates a tensor without device=",
    ),
    ("learns clean data", attacker(learn=unlearning), "standard errors"),
    ("learns the same from the same seed", attacker(learn=careless), "differs"),
    ("logs its training", attacker(learn=lambda s, t, v, rng, *, log: s.inner.learn(t, v, rng)), "never called"),
    ("generates", attacker(generate=lambda s, m, like, rng: like.select([0])), "generate returned 1 items"),
    (
        "names its validity checks",
        attacker(validity=lambda s, a, b: [ValidityCheck("g", False, 1.0, 2.0, "m")]),
        "fails 'g'",
    ),
]


@pytest.mark.parametrize(
    ("name", "plugin", "sentence"), BROKEN_ATTACKERS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(BROKEN_ATTACKERS)]
)
def test_a_broken_attacker_fails_the_check_of_what_it_breaks(name: str, plugin: Any, sentence: str) -> None:
    end = outcome(next(check for check in checks("attackers", plugin) if check.name == name))
    assert end.status == "failed"
    assert sentence in end.reason


def test_trainings_are_marked_as_slow() -> None:
    slow = {check.name for check in checks("attackers", attacker()) if check.slow}
    assert {"learns clean data", "learns the same from the same seed"} <= slow
    assert "loss can be descended" not in slow


# --- adaptations


@dataclass(frozen=True)
class Softer(Adaptation[Clips]):
    gain: float = 0.5
    delay: int = 0

    def transform(self, data: Clips, rng: Generator) -> Clips:
        return data.with_audio(self.gain * data.audio.roll(self.delay, -1) * data.support)

    def train(self, attacker: Any, train: Any, validation: Any, rng: Generator, *, log: Any) -> nn.Module:
        return attacker.learn(train, validation, rng, log=log)  # type: ignore[no-any-return]


def test_a_good_adaptation_passes() -> None:
    assert set(statuses("adaptations", Softer()).values()) == {"passed"}


def test_a_delay_is_found_to_the_sample_in_either_direction() -> None:
    assert "passed" in statuses("adaptations", Softer(delay=1))["stays aligned"]
    assert "by 2 samples" in failed("adaptations", Softer(delay=2))["stays aligned"]
    assert "by -7 samples" in failed("adaptations", Softer(delay=-7))["stays aligned"]
    declared = type("Moving", (Softer,), {"__module__": __name__, "aligned": False})
    assert "stays aligned" not in statuses("adaptations", declared(delay=9))


def test_a_filter_may_drop_clips_but_not_mix_up_their_labels() -> None:
    keep = type("Keep", (Softer,), {"__module__": __name__, "transform": lambda s, data, rng: data.select([3, 1])})
    assert statuses("adaptations", keep())["keeps clips whole"] == "passed"
    mixed = type(
        "Mixed",
        (Softer,),
        {"__module__": __name__, "transform": lambda s, data, rng: replace(data, labels=data.labels.roll(1))},
    )
    assert "labels" in failed("adaptations", mixed())["keeps clips whole"]


def test_an_adaptation_that_breaks_the_rules_is_told_which() -> None:
    loud = failed("adaptations", Softer(gain=3.0))
    assert "peaks at" in loud["adapted clips are valid"]
    noisy = type(
        "Noisy",
        (Softer,),
        {"__module__": __name__, "augment": lambda s, data, rng: data.with_audio(data.audio * torch.rand(()))},
    )
    assert "torch" in failed("adaptations", noisy())["adapts by the generator alone"]


# --- data sets


@dataclass(frozen=True)
class Tones(Dataset[Clips]):
    overlap: bool = False
    jitter: bool = False

    def load(self, split: str) -> Clips:
        if split not in ("train", "validation", "test"):
            raise DataError(f"no split '{split}', expected train, validation or test")
        at = ("train", "validation", "test").index(split)
        data = sets.tones(12).select(range(4 * at, 4 * at + (6 if self.overlap else 4)) if at < 2 else range(8, 12))
        return data.with_audio(data.audio * torch.rand(())) if self.jitter else data


def test_a_good_data_set_lacks_but_a_card() -> None:
    assert list(failed("datasets", Tones())) == ["has a card"]


def test_a_leak_between_splits_and_a_load_that_varies_are_found() -> None:
    assert "in train and in validation" in failed("datasets", Tones(overlap=True))["splits share no group"]
    assert "loads the same twice" in failed("datasets", Tones(jitter=True))


def test_a_threat_model_that_does_not_fit_the_training_set_is_found() -> None:
    def declaring(**threat: Any) -> dict[str, str]:
        return failed("datasets", type("Declares", (Tones,), {"__module__": __name__, "threat": {"audio": threat}})())

    assert list(declaring(small={"published": 2, "granted": 2})) == ["has a card"]
    assert "leave 2 to" in declaring(small={"published": 3, "granted": 2})["its threat models fit"]


def test_data_that_is_not_here_is_a_reason_to_skip() -> None:
    def absent(self: Any, split: str) -> Rolls:
        raise DataError("no folder 'x' under BENCH_DATA")

    gone = type("Gone", (Tones,), {"__module__": __name__, "load": absent})
    ends = [outcome(check) for check in checks("datasets", gone())]
    assert [end.check.name for end in ends if end.status == "failed"] == ["has a card"]
    assert any("BENCH_DATA" in end.reason for end in ends if end.status == "skipped")


def test_the_kit_refuses_to_run_without_assertions() -> None:
    import subprocess
    import sys

    code = (
        "from bench.check import checks, outcome\nfrom bench import plugins\n"
        "print(outcome(next(checks('defenses', plugins.build('defenses', 'clean')))).reason)"
    )
    ran = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    assert "without -O" in ran.stdout
