"""The page in a browser: it opens without an error, fast, and search and click reach the layer that is at fault."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import HOSTILE, PERMUTED, SLOPE, failing, hostile, large, made, passing, strange
from PIL import Image

from parity.differences import difference
from parity.history import Past
from parity.render.html import difference_page, page
from parity.report import Report

Look = Callable[..., Any]

REPORTS: dict[str, Callable[[], Report]] = {
    "passing": passing,
    "failing": failing,
    "not-finite": strange,
    "large": large,
    "hostile": hostile,
}
ALL = pytest.mark.parametrize("made", REPORTS.values(), ids=REPORTS.keys())


@ALL
def test_it_opens_and_paints_within_two_seconds(look: Look, made: Callable[[], Report]) -> None:
    """Every page opens without a word on the console or a request, and its first paint comes within two seconds."""
    window = look(made())
    painted: list[float] = []
    for _ in range(200):  # the page's policy forbids what Playwright's own waiting is made of
        painted = window.evaluate("performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)")
        if painted:
            break
        window.wait_for_timeout(20)
    assert len(painted) == 1
    assert 0 < painted[0] < 2000


@pytest.mark.parametrize(
    "made", [*list(REPORTS.values())[:3], hostile, lambda: large(60)], ids=lambda made: made.__name__
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(look: Look, made: Callable[[], Report], theme: str) -> None:
    """axe-core finds nothing serious or critical, in light and in dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    found = axe.Axe().run(look(made(), theme=theme)).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious] == []


def changed() -> str:
    """A page of two runs that differ in everything that it can say."""
    old, new = failing(), made(faults={"conv3": PERMUTED, "act2": SLOPE, "flow": PERMUTED}, modes=("eager",))
    return difference_page(difference(old, replace(new, settings={"policy": "rtol=0.1, atol=0.1"})))


def past() -> str:
    """A page with a history in which versions and errors changed."""
    runs = [replace(Past.of(made()), versions={"keras": f"3.{index}.0"}) for index in range(8)]
    return page(failing(), [*runs, Past.of(failing())])


@pytest.mark.parametrize("shown", [changed, past], ids=["two-runs", "history"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_what_compares_runs(look: Look, shown: Callable[[], str], theme: str) -> None:
    """The page of two runs, and the history below a report, are as accessible, and no wider than a telephone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    window = look(shown(), size=(400, 800), theme=theme)
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    found = axe.Axe().run(window).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious] == []


def test_axe_would_find_one(look: Look) -> None:
    """The check can fail: a picture without words, and text as pale as the paper, are found."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    window = look(passing())
    window.evaluate("document.querySelector('figure img').removeAttribute('alt')")
    window.evaluate("document.querySelector('h1').style.color = '#eee'")
    found = {each["id"] for each in axe.Axe().run(window).response["violations"]}
    assert {"image-alt", "color-contrast"} <= found


def test_the_page_is_not_wider_than_a_telephone(look: Look) -> None:
    """At 400 pixels nothing but tables and the overview, which scroll by themselves, is wider than the window."""
    name = "encoder_block_with_a_long_name_" * 6
    for report in (*REPORTS.values(), lambda: made([f"a{name}", name], {name: SLOPE}, inputs=[name], pair=name)):
        window = look(report(), size=(400, 800))
        assert window.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("size", [(1280, 720), (400, 800)])
def test_the_first_screen_says_which_layer_what_is_wrong_and_what_to_change(look: Look, size: tuple[int, int]) -> None:
    """Without scrolling one reads the verdict, the layer on both sides, the cause and the change."""
    window = look(failing(), size=size)
    card = window.locator(".card").first
    for text in ("act2", "k_act2", "The slope for negative values is 0.2", "slope=0.1"):
        box = card.get_by_text(text).first.bounding_box()
        assert box["y"] + box["height"] <= size[1], text
    assert window.locator(".badge").inner_text().lower() == "✕ diverged"


def test_all_three_faults_are_on_the_first_screen(look: Look) -> None:
    """Three faults are three cards beside each other."""
    window = look(failing(), size=(1280, 720))
    boxes = [card.bounding_box() for card in window.locator(".card").all()]
    assert len(boxes) == 3
    assert all(box["y"] + box["height"] <= 720 for box in boxes)


def test_what_is_looked_at_first_is_the_layer_at_fault(look: Look) -> None:
    """The first layer at fault is chosen: its details are shown, and no other's."""
    window = look(strange())
    assert window.locator(".detail:visible h3").all_inner_texts() == ["conv3 → k_conv3"]


@pytest.mark.parametrize("words", ["introduces", "kernel-axes", "act250", "K_ACT250 oper"])
def test_search_reaches_the_layer_at_fault_among_500(look: Look, words: str) -> None:
    """A verdict, a cause, a name, or parts of two in any case leave one row, and show its layer."""
    window = look(large())
    window.locator("#search").fill(words)
    rows = window.locator("#table tbody tr:visible")
    assert rows.count() == 1
    assert window.locator("#found").inner_text() == "1 of 501"
    assert window.locator(".detail:visible h3").inner_text() == "act250 → k_act250"


def test_only_what_differs_leaves_what_differs(look: Look) -> None:
    """With the box ticked the rows that pass are gone."""
    window = look(failing())
    window.locator("#only").check()
    verdicts = window.locator("#table tbody tr:visible .verdict").all_inner_texts()
    assert set(verdicts) == {"introduces", "inherits"}
    window.locator("#only").uncheck()
    assert window.locator("#table tbody tr:visible").count() == 12


def test_a_click_in_the_overview_reaches_the_layer_there(look: Look) -> None:
    """A click on the place of a layer in the overview shows that layer, and the address says so."""
    window = look(large())
    box = window.locator("#strip").bounding_box()
    window.mouse.click(box["x"] + box["width"] * (101 + 0.5) / 501, box["y"] + 5)
    assert window.locator(".detail:visible h3").inner_text() == "act100 → k_act100"
    assert window.url.endswith("#layer-101")


def test_a_click_on_a_card_reaches_the_layer_it_is_about(look: Look) -> None:
    """The name on a card is a link to the layer's details, which are then in view and have the focus."""
    window = look(failing())
    window.locator(".card h2 a").nth(1).click()
    window.wait_for_timeout(300)
    assert window.locator(".detail:visible h3").inner_text() == "conv3 → k_conv3"
    assert window.locator("#layer-5").evaluate("each => each === document.activeElement")
    assert 0 <= window.locator("#layer-5").bounding_box()["y"] < 800


def test_the_keyboard_alone_goes_through_the_layers(look: Look) -> None:
    """From a layer's link the arrows go to the next and the one before, and Enter chooses."""
    window = look(passing())
    window.locator("#row-1 a").focus()
    window.keyboard.press("ArrowDown")
    window.keyboard.press("ArrowDown")
    window.keyboard.press("ArrowUp")
    window.keyboard.press("Enter")
    assert window.locator(".detail:visible h3").inner_text() == "act1 → k_act1"


def test_from_the_top_the_keyboard_reaches_the_layer_at_fault(look: Look) -> None:
    """Tab by Tab the focus is seen everywhere, and Enter on the first card's name opens that layer's details."""
    window = look(failing())
    focus = """(() => {
        const at = document.activeElement;
        return [at.tagName, at.textContent, getComputedStyle(at).outlineStyle];
    })()"""
    seen = []
    while not seen or seen[-1][:2] != ["A", "act2"]:
        window.keyboard.press("Tab")
        seen.append(window.evaluate(focus))
        assert len(seen) < 6, seen
    assert {each[2] for each in seen} == {"solid"}
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == window.locator(".detail:visible").get_attribute("id")
    assert window.locator(".detail:visible h3").is_visible()


def test_an_address_with_a_layer_opens_it(look: Look) -> None:
    """What the address names is shown first, and when it changes; one that names no layer shows the first at fault."""
    window = look(failing(), fragment="#layer-3")
    assert window.locator(".detail:visible h3").inner_text() == "conv2 → k_conv2"
    window.evaluate("location.hash = '#layer-7'")
    window.locator("#layer-7").wait_for(state="visible")
    assert window.locator(".detail:visible h3").all_inner_texts() == ["conv4 → k_conv4"]
    window = look(failing(), fragment="#layer-9999")
    assert window.locator(".detail:visible h3").all_inner_texts() == ["act2 → k_act2"]


def test_a_run_is_looked_at_by_itself(look: Look) -> None:
    """Choosing a run changes the curves and the numbers to that run's."""
    report = failing()
    window = look(report)
    window.locator("#run").select_option("2")
    assert window.locator(".curves:visible").count() == 1
    assert window.locator(".curves:visible").get_attribute("data-run") == "2"
    cell = window.locator("#row-5 .num").first.inner_text()
    assert cell.split() == ["1.3e6x", "6.4e-1"]


def test_the_overview_zooms(look: Look) -> None:
    """Plus makes the overview twice as wide, around the chosen layer; fit makes it whole again."""
    window = look(large())
    width = window.locator("#canvas").bounding_box()["width"]
    for _ in range(3):
        window.locator("#in").click()
    assert window.locator("#canvas").bounding_box()["width"] == pytest.approx(8 * width, rel=0.01)
    cursor, scroll = (window.locator(name).bounding_box() for name in ("#cursor", "#scroll"))
    assert scroll["x"] < cursor["x"] < scroll["x"] + scroll["width"]
    window.locator("#fit").click()
    assert window.locator("#canvas").bounding_box()["width"] == pytest.approx(width, rel=0.01)


def test_names_are_below_the_layers_once_there_is_room(look: Look) -> None:
    """Of 60 layers the names appear as one zooms in, each below its own place."""
    window = look(large(60))
    assert not window.locator("#labels").is_visible()
    for _ in range(2):
        window.locator("#in").click()
    assert window.locator("#labels span").nth(31).inner_text() == "act30"
    name, node = (window.locator(f"{part} >> nth=31").bounding_box() for part in ("#labels span", "#strip i"))
    assert name["x"] + name["width"] / 2 == pytest.approx(node["x"] + node["width"] / 2, abs=2)


def test_the_button_changes_between_light_and_dark(look: Look) -> None:
    """The button turns a light page dark, and back."""
    window = look(passing())
    colour = "getComputedStyle(document.body).backgroundColor"
    light = window.evaluate(colour)
    window.locator("#theme").click()
    dark = window.evaluate(colour)
    window.locator("#theme").click()
    assert window.evaluate(colour) == light != dark


def test_the_flow_pictures_are_not_blank(look: Look) -> None:
    """Both flows, their difference, the end-point error and the ground truth are pictures of many colours."""
    window = look(failing())
    figures = window.locator(".output").nth(1).locator("img")
    assert figures.count() == 7
    for index in range(7):
        figures.nth(index).scroll_into_view_if_needed()
        pixels = np.asarray(Image.open(io.BytesIO(figures.nth(index).screenshot())).convert("RGB"))
        colours = len(np.unique(pixels.reshape(-1, 3), axis=0))
        assert colours > 20 or index in (2, 3), index  # the same error everywhere is one colour, and not the paper's
        assert pixels[20:-20, 20:-20].std() > 1 or pixels[50, 50].min() < 250, index


def test_the_overview_is_drawn(look: Look, tmp_path: Path) -> None:
    """Arcs, nodes and curves leave marks in their colours."""
    window = look(failing())
    window.locator(".map").screenshot(path=tmp_path / "map.png")
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).reshape(-1, 3)
    for colour in ((163, 0, 31), (208, 122, 0), (179, 18, 43), (110, 169, 131)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 6).sum() > 20, colour


def test_names_are_text_whatever_is_in_them(look: Look) -> None:
    """A name with markup, quotes and unicode is shown as it is, runs nothing, and can be searched for."""
    window = look(hostile())
    assert HOSTILE.strip() in window.locator("h1").inner_text()
    assert window.locator("script").count() == 2
    names = [text.splitlines()[0] for text in window.locator("#table .name").all_inner_texts()]
    assert names[1] == f"conv1 {HOSTILE}".strip()
    window.locator("#search").fill("k_conv2 <script>alert('x')</script>")
    assert window.locator("#table tbody tr:visible").count() == 1


def test_it_prints_with_the_layers_at_fault(look: Look) -> None:
    """On paper every layer at fault is there with its details, and no button."""
    window = look(failing())
    window.emulate_media(media="print")
    assert window.locator(".detail:visible").count() == 3
    assert window.locator("button:visible").count() == 0
    assert len(window.pdf()) > 20_000


def test_paper_is_light(look: Look) -> None:
    """A page that was dark on the screen, by the button or the system, is dark ink on white paper."""
    window = look(failing())
    window.locator("#theme").click()
    dark = window.evaluate("getComputedStyle(document.querySelector('h1')).color")
    window.emulate_media(media="print", color_scheme="dark")
    ink = window.evaluate("getComputedStyle(document.querySelector('h1')).color")
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (dark, ink)]
    assert brightness[0] > 600
    assert brightness[1] < 150


def test_without_its_script_everything_is_there_to_read(chromium: Any, tmp_path: Path) -> None:
    """With scripts off the page still says all: the details of every layer are below the table."""
    from parity.render.html import page

    (tmp_path / "page.html").write_text(page(failing()), encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False)
    window = context.new_page()
    window.goto((tmp_path / "page.html").as_uri())
    assert window.locator(".detail:visible").count() == 11
    context.close()
