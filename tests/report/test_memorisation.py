"""The table of what was memorised, and where it stands."""

from bench.report import markdown, terminal, views
from bench.report.memorisation import MEANING, memorisation_table
from bench.results.board import Board
from tests.results.test_memorisation import record


def test_a_line_says_what_was_memorised_beside_clean_and_chance() -> None:
    heads, body = memorisation_table([record(0, 0.4), record(1, 0.6)])
    (line,) = (dict(zip(heads, line, strict=True)) for line in body)
    assert line["defense"] == "cloak"
    assert line["response"] == "learner"
    assert line["gap, protected"] == "+0.500 ± 0.100"
    assert line["gap, clean"].startswith("+1.000 ± ")
    assert line["exposure, protected"] == "1.00 ± 0.00"
    assert line["exposure of unpublished items"].startswith("1.00 ± ")
    assert (line["by chance"], line["at most"], line["seeds"]) == ("0.85", "2.00", "2")


def test_pages_show_it_only_where_it_was_measured(board: Board) -> None:
    first = next(record for record in board.records if record.trial.control == "")
    measured = first.model_copy(update={"memorisation": record().memorisation})
    boards = (board, Board(board.suite, (*[r for r in board.records if r is not first], measured)))
    for shown, each in enumerate(boards):
        page = markdown.page(each, "bench matrix small.toml")
        assert ("## Memorisation" in page) == (MEANING in page) == bool(shown)
        assert ("memorisation of the published items" in terminal.tables(each)) == bool(shown)
        assert len(views.suite_page(each, [])["memorisation"][1]) == shown
