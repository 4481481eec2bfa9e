"""Who can read a page: by eye, by ear, by keyboard, and in every colour."""

from __future__ import annotations

import re
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from amends.governor.proof.comparisons import comparisons_of
from amends.governor.proof.drawing import SHADES, STYLE
from amends.governor.proof.evidence import History, Step, Tried
from amends.governor.proof.forest import forest_svg
from amends.governor.proof.page import TEMPLATES, render_page
from amends.governor.proof.statements import build_statement
from amends.records import ModelVersion


class Page(HTMLParser):
    """What stands in a page, by element; void elements and those of drawings have no end of their own here."""

    VOID = frozenset({"meta", "br", "path", "rect", "circle"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.stack, self.texts, self.problems = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.stack)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.stack)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(tag)

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def all(self, tag):
        return [attrs for name, attrs, _ in self.elements if name == tag]


def test_a_page_is_well_formed_in_english_and_has_its_landmarks(kind, told):
    page = Page(render_page(told.STATEMENTS[kind]()))
    assert page.problems == [] and page.stack == []
    assert page.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1, landmark
    first = next(attrs for tag, attrs, inside in page.elements if "body" in inside and tag == "a")
    assert first["href"] == "#main" and page.all("main")[0]["id"] == "main"


def test_headings_skip_no_level_and_ids_are_single(kind, told):
    page = Page(render_page(told.STATEMENTS[kind]()))
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[:2] == [1, 2] and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [name for _, attrs, _ in page.elements for name in attrs.get("aria-labelledby", "").split()]
    linked = [attrs["href"].removeprefix("#") for attrs in page.all("a")]
    assert {*named, *linked} <= set(ids)


def test_every_drawing_is_read_out_and_every_table_has_a_name_and_heads_with_a_scope(kind, told):
    page = Page(render_page(told.STATEMENTS[kind]()))
    for attrs in page.all("svg"):
        drawing = attrs["aria-labelledby"].partition("-")[0]
        assert attrs["role"] == "img" and attrs["aria-labelledby"] == f"{drawing}-title {drawing}-desc"
    drawn = [tag for tag, _, inside in page.elements if inside[-1:] == ("svg",) and tag in ("title", "desc")]
    assert drawn == ["title", "desc"] * len(page.all("svg"))
    said = [text for tag, text in page.texts if tag in ("title", "desc")]
    assert all(text.strip() for text in said)
    assert all(attrs.get("aria-label") for attrs in page.all("table"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert bool(page.all("svg")) is (kind not in ("negative", "finding"))


def luminance(colour):
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Return the contrast of two colours (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_the_one_of_the_standard():
    assert contrast("#000000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_all_text_of_the_page_stands_out_from_every_ground():
    style = (TEMPLATES / "parts" / "style.html.j2").read_text(encoding="utf-8")
    style = style[style.index("<style>") : style.index("</style>")]
    names = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", style))
    inks = {match for match in re.findall(r"(?<![-\w])color:var\(--(\w+)\)", style)}
    assert inks >= {"ink", "soft", "accent", "bad", "warn"} and not re.search(r"(?<![-\w])color:#", style)
    grounds = {names[name] for name in re.findall(r"(?<!\w)background:var\(--(\w+)\)", style)}
    assert grounds == {names["paper"], names["tint"]}
    assert min(contrast(names[ink], ground) for ink in inks for ground in grounds) >= 4.5


def test_all_text_of_drawings_stands_out_and_so_do_their_marks():
    grounds = ["#ffffff", *SHADES.values()]
    inks = re.findall(r"(?:text|\.s)\{[^}]*fill:(#[0-9a-f]{6})", STYLE)
    assert len(inks) == 2 and min(contrast(ink, ground) for ink in inks for ground in grounds) >= 4.5
    marks = {kind: colour for kind, colour in re.findall(r"\.([ablnowzg])\{[^}]*?stroke:(#[0-9a-f]{6})", STYLE)}
    assert set(marks) == set("ablnowzg")
    assert min(contrast(colour, ground) for colour in marks.values() for ground in grounds) >= 3.0


def test_what_a_colour_says_a_form_or_a_word_says_too(told):
    drawing = forest_svg(comparisons_of(asdict(reading) for reading in told.last_rung()))
    forms = {"within": '<circle class="a"', "reaches beyond": '<path class="n" d="M', "cannot tell": '<rect class="o"'}
    for place, form in forms.items():
        assert drawing.count(form) > 1 and f">{place}</text>" in drawing  # in the legend and in a row
    page = render_page(told.STATEMENTS["approximate"]())
    for mark, kind in (("✓", "yes"), ("✗", "no"), (r"\?", "alarm")):
        assert re.search(rf'<span class="{kind}">{mark}', page)
    assert re.search(r"\.w\{[^}]*stroke-dasharray", STYLE)


def test_focus_is_seen_and_the_skip_link_appears_with_it(told):
    page = render_page(told.STATEMENTS["exact"]())
    assert re.search(r":focus-visible\{outline:3px", page) and ".skip:focus{left:1rem" in page


def test_a_page_that_is_printed_shows_all_of_it_on_paper_and_tears_no_drawing(kind, told):
    text = render_page(told.STATEMENTS[kind]())
    assert re.search(r"@page\{size:A4", text)
    rules = text[text.index("@media print{") + len("@media print{") : text.index("@page{")]
    hidden = re.findall(r"([^{}]*)\{[^{}]*display:none[^{}]*\}", rules)
    assert hidden == [".skip"]  # the link for keyboards is all that paper has no use for
    whole = re.findall(r"([^{}]*)\{break-inside:avoid\}", rules)
    assert {"svg", "tr"} <= {element for group in whole for element in group.split(",")}
    page = Page(text)
    assert not page.all("details") and not any("hidden" in attrs for _, attrs, _ in page.elements)


EVIL = '<script>alert("x")</script>&'


@pytest.mark.parametrize(
    "changes",
    [
        lambda told: {"history": History(ModelVersion(EVIL, 1, EVIL), (Step(EVIL, {EVIL: EVIL}),), (Step(EVIL),))},
        lambda told: {"readings_after": (told.compared(f"a.attack-{EVIL}/difference", 0.0, -0.1, 0.1, EVIL),)},
        lambda told: {"readings_after": (told.compared(f"{EVIL}/x", 0.0, -0.1, 0.1, EVIL),)},
        lambda told: {"tried": (Tried(EVIL, EVIL, EVIL, (told.compared(f"{EVIL}/x", 0.0, -0.1, 0.1, EVIL),)),)},
    ],
    ids=["history", "attack", "comparison", "tried"],
)
def test_every_new_value_is_escaped(changes, told):
    page = Page(render_page(build_statement(told.evidence(**changes(told)))))
    assert page.all("script") == [] and page.problems == []
