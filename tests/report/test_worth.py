"""Score 2 as text: the table's cells and the sentence, from a curve whose worth is known."""

import numpy as np
import pytest

from bench.report import worth as worth_report
from bench.report.worth import sentence, worth_table
from bench.results.curve import CleanCurve
from bench.results.worth import worth
from bench.results.worths import RowWorth


def row(seeds: int) -> RowWorth:
    rng = np.random.default_rng(0)

    def arm(mean: float) -> np.ndarray:
        values = rng.normal(0.0, 0.02, (seeds, 40))
        return np.asarray(mean + values - values.mean())

    sizes = (0, 600, 1200, 2400)
    curve = CleanCurve(sizes, np.stack([arm(mean) for mean in (0.2, 0.6, 0.7, 0.8)]), granted=50)
    result = worth(curve, arm(0.6))
    return RowWorth("digits", "noise", "none", ("m5",), "m5 + mp3", "accuracy", tuple(range(seeds)), result, curve)


def test_a_sentence_says_worth_and_interval() -> None:
    text = sentence(row(seeds=3))
    assert text.startswith("2,400 protected items are worth 600 clean ones (")
    assert " … " in text
    assert sentence(row(seeds=1)) == "2,400 protected items are worth 600 clean ones"


def test_a_line_shows_worth_learning_denied_and_quality_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth_report, "row_worths", lambda records: [row(seeds=3), row(seeds=1)])
    heads, body = worth_table([])
    three, one = (dict(zip(heads, line, strict=True)) for line in body)
    assert three["worth (clean items)"] == "600"
    assert three["of published"] == "2,400"
    assert three["learning denied"] == "+0.333"
    assert (three["protected"], three["clean"], three["nothing published"]) == ("0.600", "0.800", "0.200")
    assert three["chosen response"] == "m5 + mp3"
    assert one["seeds"] == "1"
    assert "one seed" in body[1]
