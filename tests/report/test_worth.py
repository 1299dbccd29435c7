"""Score 2 as text: the table's cells and the sentence, from a curve whose worth is known."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from bench.report import charts
from bench.report.worth import sentence, worth_table
from bench.results.board import boards
from bench.results.curve import CleanCurve
from bench.results.statistics import Interval
from bench.results.worth import worth
from bench.results.worths import RowWorth


def row(seeds: int) -> RowWorth:
    rng = np.random.default_rng(0)

    def arm(mean: float) -> np.ndarray:
        values = rng.normal(0.0, 0.02, (seeds, 40))
        return np.asarray(mean + values - values.mean())

    sizes = (0, 600, 1200, 2400)
    curve = CleanCurve(sizes, np.stack([arm(mean) for mean in (0.2, 0.6, 0.7, 0.8)]), granted=50)
    protected = arm(0.6)
    return RowWorth(
        dataset="digits",
        defense="noise",
        knowledge="none",
        attackers=("m5",),
        response="m5 + mp3",
        metric="accuracy",
        seeds=tuple(range(seeds)),
        worth=worth(curve, protected),
        curve=curve,
        protected=protected,
        groups=tuple(map(str, range(40))),
        scope="clip",
        control=False,
        rank=(1, 2),
    )


def test_a_sentence_says_worth_and_interval() -> None:
    text = sentence(row(seeds=3))
    assert text.startswith("2,400 protected items are worth 600 clean ones (")
    assert " … " in text
    assert sentence(row(seeds=1)) == "2,400 protected items are worth 600 clean ones"


def test_a_line_shows_worth_learning_denied_and_quality_together() -> None:
    heads, body = worth_table([row(seeds=3), row(seeds=1)])
    three, one = (dict(zip(heads, line, strict=True)) for line in body)
    assert three["rank"] == "1–2"
    assert three["worth (clean items)"] == "600"
    assert three["of published"] == "2,400"
    assert three["learning denied"] == "+0.333"
    assert [three[f"quality, {arm}"] for arm in ("protected", "clean", "nothing published")] == [
        "0.600",
        "0.800",
        "0.200",
    ]
    assert three["chosen response"] == "m5 + mp3"
    assert one["seeds"] == "1"
    assert "one seed" in body[1]


def test_what_a_row_denies_beyond_its_control_has_a_column_where_a_row_has_one() -> None:
    head = "beyond its matched control"
    alone = row(seeds=3)
    assert head not in worth_table([alone])[0]
    heads, body = worth_table([replace(alone, beyond=Interval(0.25, 0.1, 0.4)), alone])
    assert [line[heads.index(head)] for line in body] == ["+0.250 (+0.100 … +0.400)", ""]


def test_the_clean_curve_is_drawn_with_the_protected_sets_point_at_its_worth() -> None:
    result = row(seeds=3)
    picture = ElementTree.fromstring(charts.clean_curve(result.curve, result.worth, "accuracy"))
    texts = [element.text for element in picture if element.tag.endswith("text")]
    assert {"0", "600", "1,200", "2,400", "clean items published", "accuracy"} <= set(texts)
    assert "protected: 0.600" in picture.attrib["aria-label"]
    marks = [element for element in picture if element.tag.endswith("circle")]
    square = next(element for element in picture if element.tag.endswith("polygon"))
    corners = [tuple(map(float, corner.split(","))) for corner in square.attrib["points"].split()]
    centre = [sum(values) / 4 for values in zip(*corners, strict=True)]
    second = [float(marks[1].attrib[name]) for name in ("cx", "cy")]  # 600 clean items, of the same quality
    assert np.allclose(centre, second, atol=1.0)


def test_a_row_outside_the_budget_is_too_loud_and_has_no_rank() -> None:
    (board,) = boards(["digits"])
    head, lines = worth_table(board.worths, board.views)
    ranks = {line[head.index("defense")]: line[0] for line in lines}
    loud = {row.defense for row in board.rows if not row.inside and not row.control}
    assert loud
    assert {name for name, rank in ranks.items() if rank == "too loud"} == loud
