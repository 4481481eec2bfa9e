"""What a page draws: differences against their margin, attacks against the never-seen, and where a model comes from."""

from __future__ import annotations

import re
from dataclasses import asdict
from xml.etree import ElementTree

import pytest

from amends.governor.proof.comparisons import comparisons_of
from amends.governor.proof.evidence import History, Step
from amends.governor.proof.forest import forest_svg
from amends.governor.proof.page import render_page
from amends.governor.proof.pedigree import pedigree_svg
from amends.governor.proof.plots import Threshold
from amends.governor.proof.statements import build_predicate

SVG = "{http://www.w3.org/2000/svg}"


def test_a_forest_plot_has_a_row_for_each_comparison_on_one_scale_around_zero(told):
    both_ways = (told.compared("a.b/x", 0.05, 0.0, 0.1), told.compared("a.b/y", -0.2, -0.4, 0.0, "not equivalent"))
    found = comparisons_of(asdict(reading) for reading in both_ways)
    drawing = forest_svg(found, [Threshold("a.b/x", "<=", 0.1)])
    ElementTree.fromstring(drawing)
    [circle] = re.findall(r'<circle class="a" cx="([\d.]+)" cy="75"', drawing)
    left, right, reach = 200, 560, 0.4
    assert float(circle) == pytest.approx(left + (0.05 + reach) / (2 * reach) * (right - left), abs=0.1)
    bands = re.findall(r'<rect class="band"[^>]* x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing)
    assert [float(x) + float(width) / 2 for x, width in bands] == pytest.approx([380, 380], abs=0.1)
    assert float(bands[0][1]) == pytest.approx(2 * 0.1 / (2 * reach) * (right - left), abs=0.2)
    assert "Of 2: 1 within; 1 reaches beyond." in drawing and drawing.count('class="l"') == 2  # one in the legend


def test_a_comparison_that_could_not_be_read_has_a_row_that_says_so(told):
    found = comparisons_of([{**asdict(told.compared("a.b/x", 0.1, -1.0, 1.0, "inconclusive")), "value": None}])
    drawing = forest_svg(found)
    assert "could not be read" in drawing and ">cannot tell<" in drawing and found[0].place == "unknown"


@pytest.mark.parametrize(
    ("verdict", "low", "high", "place"),
    [
        ("equivalent", -0.05, 0.05, "within"),
        ("equivalent", -0.05, 0.2, "unknown"),  # it contradicts itself
        ("not equivalent", 0.0, 0.2, "beyond"),
        ("inconclusive", -0.05, 0.05, "unknown"),
        ("anything", -0.05, 0.05, "unknown"),
        ("equivalent", None, None, "unknown"),
    ],
)
def test_only_an_equivalent_interval_inside_the_margin_is_within(verdict, low, high, place, told):
    [found] = comparisons_of([asdict(told.compared("a.b/x", 0.0, low, high, verdict))])
    assert found.place == place


def test_people_never_seen_are_the_reference_that_attacks_are_drawn_against(told):
    page = render_page(told.STATEMENTS["approximate"]())
    levels = page[page.index('aria-labelledby="levels-title') :]
    levels = levels[: levels.index("</svg>")]
    assert levels.count('class="reference"') == 4 and "0.380 against 0.110" in levels
    [x] = re.findall(r'class="reference"[^>]* x="([\d.]+)"', levels)[:1]
    assert float(x) == pytest.approx(200 + 0.13 * 360, abs=0.1)
    assert levels.count('<circle class="b"') == 2  # the legend's, and that of the one told.attack that was read before


def boxes(statement):
    drawing = ElementTree.fromstring(pedigree_svg(statement["predicate"]["history"]))
    found = drawing.findall(f"{SVG}rect")
    texts = [text for text in drawing.findall(f"{SVG}text") if text.get("class") is None]
    return [(float(rect.get("x")), text.text) for rect, text in zip(found, texts, strict=True)]


def test_a_changed_model_goes_on_from_the_one_before_and_a_retrained_one_parts_from_it(told):
    assert [text for _, text in boxes(told.STATEMENTS["approximate"]())] == [
        "base: tiny@1", "training.finetune", "before: assistant@1", "unlearning.npo", "after: assistant@2",
    ]  # fmt: skip
    assert len({x for x, _ in boxes(told.STATEMENTS["approximate"]())}) == 1
    parted = boxes(told.STATEMENTS["exact"]())
    left, right = ([text for x, text in parted if (x == parted[0][0]) is is_left] for is_left in (True, False))
    assert left == ["base: tiny@1", "training.shards", "before: assistant@1"]
    assert right == ["training.shards", "after: assistant@2"]
    assert boxes(told.STATEMENTS["denied"]())[-1][1] == "in service: assistant@1"


def test_the_lineage_names_the_guarantee_and_short_digests_and_is_read_out(told):
    drawing = pedigree_svg(told.STATEMENTS["approximate"]()["predicate"]["history"])
    assert f"{'f' * 12} · approximate" in drawing and f"retain {'d' * 12}" in drawing and "d" * 13 not in drawing
    assert "assistant@2 comes from tiny@1 by training.finetune, then unlearning.npo." in drawing


def test_a_long_history_is_counted_in_its_middle_and_an_unknown_beginning_is_said(told):
    steps = tuple(Step(f"edit.{number}") for number in range(40))
    history = History(None, steps)
    drawn = build_predicate(told.evidence(history=history, after=None, guarantee=None), "Report")["history"]
    texts = pedigree_svg(drawn)
    assert "29 further steps" in texts and "an unknown beginning" in texts and texts.count("<rect") == 14
