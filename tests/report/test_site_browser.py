"""The pages in a real browser: they sort, filter, link, play, print, and leave nobody out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Visit = Callable[..., Any]

SUITE = "small/index.html"
RANKING = 'table[data-table="ranking"]'


def column(page: Any, head: str) -> list[str]:
    heads = page.locator(f"{RANKING} thead th").all_inner_texts()
    at = [text.strip() for text in heads].index(head) + 1
    return [text.strip() for text in page.locator(f"{RANKING} tbody tr:visible > :nth-child({at})").all_inner_texts()]


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts]


def test_a_click_sorts_by_number_and_a_second_turns_it_round(visit: Visit) -> None:
    page = visit(SUITE)
    as_made = column(page, "defense")
    button = page.get_by_role("button", name="denied, score 1")
    button.click()
    down = numbers(column(page, "denied, score 1"))
    assert down == sorted(down, reverse=True)
    assert page.locator(f"{RANKING} th[aria-sort]").get_attribute("aria-sort") == "descending"
    button.click()
    up = numbers(column(page, "denied, score 1"))
    assert up == sorted(up)
    assert up != down
    button.click()
    assert column(page, "defense") == as_made


def test_words_sort_as_words_and_what_is_missing_comes_last(visit: Visit) -> None:
    page = visit(SUITE)
    page.get_by_role("button", name="defense").click()
    names = column(page, "defense")
    assert names == sorted(names)
    page.get_by_role("button", name="SNR dB").first.click()
    assert column(page, "SNR dB")[-1] == "–"  # the clean row has no noise
    page.get_by_role("button", name="SNR dB").first.click()
    assert column(page, "SNR dB")[-1] == "–"


def test_filters_hide_rows_and_say_how_many_are_left(visit: Visit) -> None:
    page = visit(SUITE)
    everything = column(page, "defense")
    assert set(everything) >= {"clean", "hiss", "loud", "labels"}
    page.get_by_role("searchbox").fill("lab")
    assert column(page, "defense") == ["labels"]
    assert page.locator("form[data-filters] output").inner_text() == f"1 of {len(everything)} rows"
    page.get_by_role("searchbox").fill("")
    page.get_by_label("controls").uncheck()
    assert "clean" not in column(page, "defense")
    page.get_by_label("too loud").uncheck()
    assert "loud" not in column(page, "defense")


def test_a_link_keeps_the_view(visit: Visit) -> None:
    page = visit(SUITE)
    page.get_by_role("searchbox").fill("l")
    page.get_by_label("controls").uncheck()
    page.get_by_role("button", name="denied, score 1").click()
    seen = column(page, "defense")
    link = page.url
    assert "ranking.find=l" in link
    again = visit(SUITE + "?" + link.split("?", 1)[1])
    assert column(again, "defense") == seen
    assert again.locator(f"{RANKING} th[aria-sort]").inner_text().startswith("denied, score 1")
    assert again.get_by_label("controls").is_checked() is False


def test_a_row_has_an_address_and_its_score_leads_to_its_cell(visit: Visit) -> None:
    page = visit(SUITE + "#row-tones-hiss-white-box")
    assert page.locator("tr:target th").inner_text() == "hiss"
    page.locator("tr:target td a").click()
    assert page.locator("h1").inner_text().startswith("hiss against linear")
    assert "learning denied, score 1" in page.locator(".lead").inner_text()
    assert page.get_by_role("link", name="seed 0").get_attribute("href").startswith("../records/")
    assert page.locator("svg.plot").count() == 1  # the seeds; this attacker tells of no curve


def test_a_version_plays_and_another_goes_on_where_it_was(visit: Visit) -> None:
    page = visit(SUITE)
    deck = page.locator(".deck").first
    sound = deck.locator("audio")
    sound.evaluate("async (audio) => { await audio.play(); }")
    page.wait_for_function("(audio) => audio.currentTime > 0.05", arg=sound.element_handle())
    assert sound.evaluate("(audio) => audio.duration") > 0
    sound.evaluate("(audio) => { audio.pause(); audio.currentTime = 0.2; }")
    was = sound.get_attribute("src")
    deck.get_by_role("button", name="protected").click()
    page.wait_for_function("(audio) => audio.readyState > 0 && audio.currentTime > 0.1", arg=sound.element_handle())
    assert sound.get_attribute("src") != was
    assert sound.evaluate("(audio) => audio.currentTime") == pytest.approx(0.2, abs=0.05)


def test_digits_choose_a_version_and_x_swaps_the_last_two(visit: Visit) -> None:
    page = visit(SUITE)
    deck = page.locator(".deck").first
    buttons = deck.locator(".versions button")
    buttons.first.focus()
    page.keyboard.press("3")
    assert buttons.nth(2).get_attribute("aria-pressed") == "true"
    page.keyboard.press("x")
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"
    page.keyboard.press("9")  # there is none
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"


def test_every_control_is_reached_by_the_keyboard(visit: Visit) -> None:
    page = visit(SUITE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim()"))
    assert {"denied, score 1", "Copy link to this view", "How to read this table"} <= reached


def test_dark_follows_the_system_and_the_switch(visit: Visit) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(SUITE), visit(SUITE, scheme="dark")
    assert light.evaluate(shade) != dark.evaluate(shade)
    switch = light.locator("[data-theme-switch]")
    assert switch.get_attribute("aria-label") == "Switch to dark"
    switch.click()
    assert light.evaluate(shade) == dark.evaluate(shade)
    light.reload()
    assert light.evaluate(shade) == dark.evaluate(shade)


def test_nothing_sticks_out_on_a_phone(visit: Visit, pages: Path) -> None:
    for path in ("index.html", SUITE, *[f"small/cells/{cell.name}" for cell in (pages / "small/cells").iterdir()][:2]):
        page = visit(path, width=360, height=740)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_paper_shows_what_is_folded_and_no_controls(visit: Visit) -> None:
    page = visit(SUITE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert not page.locator("header.top").is_visible()
    assert page.locator(f"{RANKING} tbody tr").first.is_visible()
    assert len(page.pdf()) > 10_000


def test_all_is_there_without_scripts(visit: Visit) -> None:
    page = visit(SUITE, java_script_enabled=False)
    assert page.locator(f"{RANKING} tbody tr").count() >= 4
    assert page.locator("audio").first.get_attribute("src").endswith(".flac")
    assert not page.locator("form[data-filters]").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", SUITE, "cell"])
def test_axe_finds_nothing(visit: Visit, pages: Path, path: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    if path == "cell":
        path = f"small/cells/{min((pages / 'small/cells').glob('*hiss*')).name}"
    page = visit(path, scheme=scheme)
    found = axe.run(page, options={"preload": False}).response["violations"]
    assert [(one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found] == []


def test_screenshots_are_kept(visit: Visit, pages: Path, tmp_path: Path) -> None:
    """Into $BENCH_SCREENSHOTS, to be looked at; the pixels are nobody's contract, but a blank page is a failure."""
    folder = Path(os.environ.get("BENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    cell = min((pages / "small/cells").glob("*hiss*")).name
    for name, path in {"index": "index.html", "suite": SUITE, "cell": f"small/cells/{cell}"}.items():
        for size, width in {"desktop": 1280, "phone": 390}.items():
            for scheme in ("light", "dark"):
                shot = visit(path, width=width, scheme=scheme).screenshot(path=folder / f"{name}-{size}-{scheme}.png")
                assert len(shot) > 10_000
