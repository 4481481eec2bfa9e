"""The page of a case: its verdict first, its charts, how sure it is, where the model comes from, who can read it."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from amends.governor.proof.comparisons import comparisons_of
from amends.governor.proof.drawing import SHADES, STYLE
from amends.governor.proof.evidence import Approved, Evidence, History, Method, Outside, Step, Tried
from amends.governor.proof.forest import forest_svg
from amends.governor.proof.inference import REFERENCE, STRANGERS, inference_of
from amends.governor.proof.page import TEMPLATES, render_page
from amends.governor.proof.pedigree import pedigree_svg
from amends.governor.proof.plainly import plain_verdict
from amends.governor.proof.plots import Threshold, thresholds_of
from amends.governor.proof.statements import build_predicate, build_statement
from amends.records import Guarantee, ModelVersion, Reading, RuleAnswer, Verdict

HOW = {"margin": 0.1, "rungs": 3, "alpha": 0.05, "level": 0.966667, "half": "audit"}
SVG = "{http://www.w3.org/2000/svg}"
SCAN = {
    **{"digest": "d" * 64, "is_clean": True, "roots": ["workspace"], "files": 40, "bytes": 271_000, "hits": 0},
    **{"needles": {"utf-8": 40}, "left_out": {}, "controls": 2, "opaque": [], "public": {"files": 0, "bytes": 0}},
    **{"kinds": [], "blind": 0, "aside": 0, "unreadable": 0},
}


def compared(name, value, low, high, verdict="equivalent", n=60, power=0.93, **detail):
    told = {**HOW, "verdict": verdict, "least_margin": 0.081, "forgotten_people": 60, **detail}
    return Reading(name, value, low, high, n, "probability", power, told)


def attack(name, forgotten, control, *interval, ending="", **more):
    probe = f"unlearning.attack-{name}"
    sides = (
        Reading(f"{probe}/{who}{ending}", mean, mean - 0.06, mean + 0.06, 60, "probability", 0.9, {"half": "audit"})
        for who, mean in (("forgotten", forgotten), ("control", control))
    )
    return (*sides, compared(f"{probe}/difference{ending}", round(forgotten - control, 3), *interval, **more))


def last_rung():
    return (
        Reading("memorisation.extraction/strength", 0.03, 0.0, 0.06, 60, "share of tokens", None, {"left_out": 0}),
        Reading("unlearning.membership/auc_loss", 0.53, 0.44, 0.61, 60, "AUC", 0.88, {"effect": 0.2}),
        Reading("utility.perplexity/perplexity", 19.1, 18.0, 20.3, 40, "perplexity"),
        compared("unlearning.equivalence/probability", 0.021, -0.03, 0.07),
        compared("unlearning.equivalence/strength", -0.004, -0.06, 0.05),
        compared("unlearning.equivalence/auc_loss", 0.03, -0.09, 0.15, "inconclusive", power=0.31, least_margin=0.19),
        *attack("paraphrase", 0.21, 0.19, -0.03, 0.07),
        *attack("few-shot", 0.24, 0.22, -0.04, 0.08),
        *attack("quantisation", 0.31, 0.32, -0.07, 0.05, ending="_4bit"),
        *attack("lora-relearn", 0.38, 0.11, 0.16, 0.38, verdict="not equivalent", n=16),
    )


def rule(expression, message, passed=True, severity="deny"):
    return RuleAnswer("r", expression, message, severity, passed, "" if passed else "it is 0.38")


def both(name, limit):
    return f'readings["{name}"].low >= -{limit} && readings["{name}"].high <= {limit}'


RULES = (
    rule('readings["memorisation.extraction/strength"].value <= 0.1', "A piece can still be extracted."),
    rule(both("unlearning.equivalence/probability", 0.1), "Not like people never trained on, by probability."),
    rule(both("unlearning.equivalence/strength", 0.1), "Not like people never trained on, by strength."),
    rule(both("unlearning.equivalence/auc_loss", 0.2), "Not like people never trained on, by membership."),
    rule('readings["unlearning.attack-paraphrase/difference"].high <= 0.1', "Other words tell more."),
    rule('readings["unlearning.attack-few-shot/difference"].high <= 0.1', "Shots tell more."),
    rule('readings["unlearning.attack-quantisation/difference_4bit"].high <= 0.1', "Four bits tell more."),
)
LOST = rule('readings["unlearning.attack-lora-relearn/difference"].high <= 0.1', "Taught again, it tells more.", False)
HISTORY = History(
    ModelVersion("tiny", 1, "b" * 64),
    (Step("training.finetune", {"records": "c" * 64}),),
    (Step("training.finetune", {"records": "c" * 64}), Step("unlearning.npo", {"retain": "d" * 64})),
)


def evidence(**changes):
    before = (
        Reading("memorisation.extraction/strength", 0.81, 0.7, 0.9, 60, "share of tokens"),
        Reading("utility.perplexity/perplexity", 18.4, 17.5, 19.4, 40, "perplexity"),
        Reading("unlearning.attack-paraphrase/forgotten", 0.82, 0.74, 0.9, 60, "probability"),
    )
    fields = {
        **{"case": "e-0123456789", "model": "assistant", "outcome": "granted", "commitment": "e" * 64},
        **{"regime": "GDPR Article 17", "received_at": "2026-03-02T09:12:00+00:00"},
        **{"due_at": "2026-04-02T21:59:59+00:00", "completed_at": "2026-03-19T14:03:00+00:00"},
        **{"issued_at": "2026-03-19T14:05:00+00:00", "before": ModelVersion("assistant", 1, "a" * 64)},
        **{"after": ModelVersion("assistant", 2, "f" * 64), "entry": {}, "guarantee": Guarantee.APPROXIMATE},
        "inclusion": {"seq": 7, "size": 8, "hash": "1" * 64, "root": "2" * 64},
        "method": Method("unlearning.npo", {"amends": "0.1.0"}, 7, {"beta": 0.1}, {"threads": 1}, "f" * 64),
        "history": HISTORY,
        "readings_before": before,
        "readings_after": last_rung(),
        "explanations": {"unlearning.equivalence": "Whether forgotten people are as people never seen."},
        "verdict": Verdict(True, "erasure", "9" * 64, RULES),
        "tried": (
            Tried("toy.unfit", "", "this model is of another kind; take another operation"),
            Tried(
                "unlearning.revert",
                "approximate",
                "the erasure policy denies: Taught again, it tells more. (it is 0.41)",
                (
                    *last_rung()[:4],
                    *attack("lora-relearn", 0.52, 0.11, 0.3, 0.52, verdict="not equivalent", n=16),
                ),
            ),
        ),
        "approvals": (Approved("Ida Berg", "dpo", "2026-03-04T08:00:00+00:00", "f" * 64),),
        "scan": SCAN,
        "outside": (Outside("backup", "nightly", expires_at="2026-05-31T00:00:00+00:00"),),
        **changes,
    }
    return Evidence(**fields)


def exact(guarantee=Guarantee.EXACT, **changes):
    parts = (Step("training.shards", {"records": "c" * 64}),), (Step("training.shards", {"records": "d" * 64}),)
    fields = {
        **{"rebuilt_digest": "5" * 64, "counterfactual_digest": "5" * 64 if guarantee is Guarantee.EXACT else ""},
        **{"readings_after": last_rung()[:3], "verdict": Verdict(True, "erasure", "9" * 64, RULES[:1])},
        **{"tried": (), "history": History(HISTORY.base, *parts), **changes},
    }
    return evidence(guarantee=guarantee, **fields)


def negative():
    nothing = {"guarantee": None, "after": None, "method": None, "verdict": None, "scan": None, "history": None}
    searched = ("The keyed index of identifiers.", "The text of every registered record, in 3 data sets.")
    empty = {name: () for name in ("readings_before", "readings_after", "tried", "approvals", "outside")}
    return evidence(outcome="no data held", **nothing, **empty, searched=searched)


def denied():
    """Return the statement of a report on a case that the policy denied after every rung."""
    last = Tried(
        "unlearning.npo", "approximate", "the erasure policy denies: Taught again, it tells more. (it is 0.38)"
    )
    known = evidence(
        **{"outcome": "", "guarantee": None, "after": None, "scan": None, "commitment": "", "completed_at": ""},
        **{"verdict": Verdict(False, "erasure", "9" * 64, (*RULES, LOST)), "outside": ()},
    )
    predicate = build_predicate(replace(known, tried=(*known.tried, last)), "Report of an erasure case")
    standing = {
        **{"status": "failed", "reason": "the erasure policy denies", "lead": known.case},
        **{"decision": f"{known.case}-erasure-3", "next": ["Register more people who stay withheld, and replan."]},
    }
    return {"predicate": {**predicate, "standing": standing}}


STATEMENTS = {
    "approximate": lambda: build_statement(evidence()),
    "exact": lambda: build_statement(exact()),
    "exact by data flow": lambda: build_statement(exact(Guarantee.EXACT_BY_DATA_FLOW)),
    "negative": lambda: build_statement(negative()),
    "denied": denied,
}
every_page = pytest.mark.parametrize("kind", STATEMENTS)


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


@every_page
def test_a_page_is_well_formed_in_english_and_has_its_landmarks(kind):
    page = Page(render_page(STATEMENTS[kind]()))
    assert page.problems == [] and page.stack == []
    assert page.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1, landmark
    first = next(attrs for tag, attrs, inside in page.elements if "body" in inside and tag == "a")
    assert first["href"] == "#main" and page.all("main")[0]["id"] == "main"


@every_page
def test_headings_skip_no_level_and_ids_are_single(kind):
    page = Page(render_page(STATEMENTS[kind]()))
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[:2] == [1, 2] and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [name for _, attrs, _ in page.elements for name in attrs.get("aria-labelledby", "").split()]
    linked = [attrs["href"].removeprefix("#") for attrs in page.all("a")]
    assert {*named, *linked} <= set(ids)


@every_page
def test_every_drawing_is_read_out_and_every_table_has_a_name_and_heads_with_a_scope(kind):
    page = Page(render_page(STATEMENTS[kind]()))
    for attrs in page.all("svg"):
        drawing = attrs["aria-labelledby"].partition("-")[0]
        assert attrs["role"] == "img" and attrs["aria-labelledby"] == f"{drawing}-title {drawing}-desc"
    drawn = [tag for tag, _, inside in page.elements if inside[-1:] == ("svg",) and tag in ("title", "desc")]
    assert drawn == ["title", "desc"] * len(page.all("svg"))
    said = [text for tag, text in page.texts if tag in ("title", "desc")]
    assert all(text.strip() for text in said)
    assert all(attrs.get("aria-label") for attrs in page.all("table"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert bool(page.all("svg")) is (kind != "negative")


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
    style = (TEMPLATES / "certificate.html.j2").read_text(encoding="utf-8")
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


def test_what_a_colour_says_a_form_or_a_word_says_too():
    drawing = forest_svg(comparisons_of(asdict(reading) for reading in last_rung()))
    forms = {"within": '<circle class="a"', "reaches beyond": '<path class="n" d="M', "cannot tell": '<rect class="o"'}
    for place, form in forms.items():
        assert drawing.count(form) > 1 and f">{place}</text>" in drawing  # in the legend and in a row
    page = render_page(STATEMENTS["approximate"]())
    for mark, kind in (("✓", "yes"), ("✗", "no"), (r"\?", "alarm")):
        assert re.search(rf'<span class="{kind}">{mark}', page)
    assert re.search(r"\.w\{[^}]*stroke-dasharray", STYLE)


def test_focus_is_seen_and_the_skip_link_appears_with_it():
    page = render_page(STATEMENTS["exact"]())
    assert re.search(r":focus-visible\{outline:3px", page) and ".skip:focus{left:1rem" in page


PLAIN = {
    "approximate": ("Done, with open points", "It was not built again without them."),
    "exact": ("Done", "The person&#39;s data are out of the model."),
    "exact by data flow": ("Done", "Bits were not compared"),
    "negative": ("Done", "No data about this person were found."),
    "denied": ("No certificate", "Not granted: nothing that was tried meets the policy."),
}


@every_page
def test_the_verdict_comes_first_in_plain_words(kind):
    page = render_page(STATEMENTS[kind]())
    state, said = PLAIN[kind]
    verdict = page[page.index('<h2 id="verdict">') : page.index("What was asked")]
    assert page.index("<main") < page.index('id="verdict"') and state in verdict and said in verdict
    assert verdict.index("What was found") < verdict.index("What this does not show")


def test_only_a_whole_and_closed_erasure_has_no_open_point():
    clean = exact(outside=())
    assert plain_verdict(build_statement(clean)["predicate"]).state == "held"
    late = plain_verdict(build_statement(clean)["predicate"], is_late=True)
    assert "after its due date" in " ".join(late.found)
    for changes, said in (
        ({"outside": (Outside("recipient", "a partner"),)}, "nobody confirmed to be gone: 1"),
        ({"verdict": Verdict(True, "p", "9" * 64, (rule("x", "m", False, "warn"),))}, "Alarms of the policy"),
    ):
        plain = plain_verdict(build_statement(exact(**{"outside": (), **changes}))["predicate"])
        assert plain.state == "short" and said in " ".join(plain.found)


def test_a_search_that_found_the_person_is_said_first():
    scan = {**SCAN, "is_clean": False, "hits": 3}
    plain = plain_verdict(build_statement(evidence(scan=scan, outside=()))["predicate"])
    assert plain.state == "short" and "still found the person in 3 places" in " ".join(plain.found)
    assert not any("found nothing" in sentence for sentence in plain.evidence)


def test_what_lies_outside_its_margin_is_said_although_no_rule_reads_it():
    plain = plain_verdict(build_statement(evidence(outside=()))["predicate"])
    assert "2 of 7 comparisons do not lie within their margin; the policy's rules allow it." in plain.found


def test_a_denied_case_says_each_failed_rule_and_never_that_it_is_done():
    plain = plain_verdict(denied()["predicate"])
    assert plain.state == "none" and plain.found == ("Taught again, it tells more.",)
    assert "3 methods were tried: toy.unfit, unlearning.revert, unlearning.npo." in plain.evidence[0]
    page = render_page(denied())
    assert page.index("no certificate") < page.index("<h1>") and "made with Amends. This page is a report" in page
    assert "amends certificate verify" not in page and "Signed root" not in page
    assert "amends policy replay e-0123456789-erasure-3" in page


def test_how_a_reading_was_judged_is_signed_without_a_plugin_s_words():
    secret = compared("a.equivalence/x", 0.0, -0.1, 0.1, note="Ines Varga lives in Brenn", ratio=float("nan"))
    statement = build_statement(evidence(readings_after=(secret,), tried=()))
    [told] = statement["predicate"]["readings"]["after"]
    assert told["detail"] == {
        **{"margin": 0.1, "rungs": 3, "alpha": 0.05, "level": 0.966667, "half": "audit", "verdict": "equivalent"},
        **{"least_margin": 0.081, "forgotten_people": 60, "ratio": None},
    }
    [revert] = [one for one in build_statement(evidence())["predicate"]["tried"] if one["readings"]]
    assert revert["readings"][-1]["detail"]["verdict"] == "not equivalent"


def test_every_rung_s_readings_stand_on_the_page():
    page = render_page(STATEMENTS["approximate"]())
    record = page[page.index("The whole record of readings") :]
    for reading in (*last_rung(), *evidence().tried[1].readings):
        assert record.count(f">{reading.name}<") >= 1
    revert = record[record.index("Tried: unlearning.revert") :]
    assert "verdict not equivalent" in revert and "<b>0.520</b>" in revert
    assert 'href="#tried-2"' in page and 'id="tried-2"' in page


def places(drawing, element, attribute):
    return [float(found) for found in re.findall(rf'<{element}[^>]* {attribute}="([\d.]+)"', drawing)]


def test_a_forest_plot_has_a_row_for_each_comparison_on_one_scale_around_zero():
    both_ways = (compared("a.b/x", 0.05, 0.0, 0.1), compared("a.b/y", -0.2, -0.4, 0.0, "not equivalent"))
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


def test_a_comparison_that_could_not_be_read_has_a_row_that_says_so():
    found = comparisons_of([{**asdict(compared("a.b/x", 0.1, -1.0, 1.0, "inconclusive")), "value": None}])
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
def test_only_an_equivalent_interval_inside_the_margin_is_within(verdict, low, high, place):
    [found] = comparisons_of([asdict(compared("a.b/x", 0.0, low, high, verdict))])
    assert found.place == place


def test_people_never_seen_are_the_reference_that_attacks_are_drawn_against():
    page = render_page(STATEMENTS["approximate"]())
    levels = page[page.index('aria-labelledby="levels-title') :]
    levels = levels[: levels.index("</svg>")]
    assert levels.count('class="reference"') == 4 and "0.380 against 0.110" in levels
    [x] = re.findall(r'class="reference"[^>]* x="([\d.]+)"', levels)[:1]
    assert float(x) == pytest.approx(200 + 0.13 * 360, abs=0.1)
    assert levels.count('<circle class="b"') == 2  # the legend's, and that of the one attack that was read before


def told_of(**changes):
    return build_statement(evidence(**changes))["predicate"]["readings"]["inference"]


def test_the_error_of_the_family_is_said_from_the_readings_own_settings():
    rungs, family, rest = told_of()["errors"]
    assert "Any of 3 methods could have passed" in rungs and "0.05 / 3 = 0.0167" in rungs and "96.67 %" in rungs
    assert "held to 5 %" in rungs
    assert "Comparisons that decide: 6, of which attacks: 3." in family and "intersection-union" in family
    assert rest == "Comparisons that are shown and decided nothing: 1."
    one = replace(compared("a.b/x", 0.0, -0.05, 0.05), detail={"margin": 0.1, "verdict": "equivalent"})
    assert "nothing is claimed" in told_of(readings_after=(one,))["errors"][0]


def test_a_rule_on_the_value_alone_is_no_test_of_an_interval():
    value = rule('readings["unlearning.equivalence/probability"].value <= 0.1', "m")
    unasked = replace(RULES[1], reason="not asked: the guarantee is exact")
    warned = replace(RULES[2], severity="warn")
    errors = told_of(verdict=Verdict(True, "p", "9" * 64, (value, unasked, warned)))["errors"]
    assert errors[-1] == "No denying rule reads the interval of a comparison: they are shown, and decided nothing."


def test_more_methods_than_the_intervals_allow_for_are_owned_up_to():
    rung = evidence().tried[1]
    errors = told_of(tried=(rung, rung, rung))["errors"]
    assert "4 methods were judged, more than the intervals allow for: the chance is larger than that." in errors


def test_the_reference_is_named_and_made_up_people_are_not_called_withheld():
    assert told_of()["reference"] == REFERENCE and "no gold model" in REFERENCE
    assert told_of(is_strange=True)["reference"] == STRANGERS and "nobody was withheld" in STRANGERS
    exactly = build_statement(exact())["predicate"]["readings"]["inference"]
    assert "gold model itself" in exactly["reference"] and exactly["errors"] == []
    assert "gold" not in told_of(readings_after=last_rung()[:3])["reference"]
    assert inference_of(None, {"before": [], "after": []}, [], judged=0, is_strange=False)["reference"] == ""


def test_what_so_many_people_could_show_is_said():
    power = told_of()["power"]
    assert "n = 16 to 60 people" in power and "0.310 to 0.930" in power and "0.081 to 0.190" in power
    assert "n = 60 people" in told_of(readings_after=last_rung()[3:5])["power"]


def test_limits_are_read_from_each_clause_of_a_rule_but_from_no_choice():
    first, second = thresholds_of([RULES[1]], ())
    assert (first.comparison, first.value, second.comparison, second.value) == (">=", -0.1, "<=", 0.1)
    assert thresholds_of([rule('readings["a/x"].low >= 0.1 || readings["a/y"].high <= 0.1', "m")], ()) == ()
    assert thresholds_of([rule('!(readings["a/x"].low >= 0.1 && readings["a/y"].high <= 0.1)', "m")], ()) == ()


def boxes(statement):
    drawing = ElementTree.fromstring(pedigree_svg(statement["predicate"]["history"]))
    found = drawing.findall(f"{SVG}rect")
    texts = [text for text in drawing.findall(f"{SVG}text") if text.get("class") is None]
    return [(float(rect.get("x")), text.text) for rect, text in zip(found, texts, strict=True)]


def test_a_changed_model_goes_on_from_the_one_before_and_a_retrained_one_parts_from_it():
    assert [text for _, text in boxes(STATEMENTS["approximate"]())] == [
        "base: tiny@1", "training.finetune", "before: assistant@1", "unlearning.npo", "after: assistant@2",
    ]  # fmt: skip
    assert len({x for x, _ in boxes(STATEMENTS["approximate"]())}) == 1
    parted = boxes(STATEMENTS["exact"]())
    left, right = ([text for x, text in parted if (x == parted[0][0]) is is_left] for is_left in (True, False))
    assert left == ["base: tiny@1", "training.shards", "before: assistant@1"]
    assert right == ["training.shards", "after: assistant@2"]
    assert boxes(STATEMENTS["denied"]())[-1][1] == "in service: assistant@1"


def test_the_lineage_names_the_guarantee_and_short_digests_and_is_read_out():
    drawing = pedigree_svg(STATEMENTS["approximate"]()["predicate"]["history"])
    assert f"{'f' * 12} · approximate" in drawing and f"retain {'d' * 12}" in drawing and "d" * 13 not in drawing
    assert "assistant@2 comes from tiny@1 by training.finetune, then unlearning.npo." in drawing


def test_a_long_history_is_counted_in_its_middle_and_an_unknown_beginning_is_said():
    steps = tuple(Step(f"edit.{number}") for number in range(40))
    history = History(None, steps)
    drawn = build_predicate(evidence(history=history, after=None, guarantee=None), "Report")["history"]
    texts = pedigree_svg(drawn)
    assert "29 further steps" in texts and "an unknown beginning" in texts and texts.count("<rect") == 14


EVIL = '<script>alert("x")</script>&'


@pytest.mark.parametrize(
    "changes",
    [
        {"history": History(ModelVersion(EVIL, 1, EVIL), (Step(EVIL, {EVIL: EVIL}),), (Step(EVIL),))},
        {"readings_after": (compared(f"a.attack-{EVIL}/difference", 0.0, -0.1, 0.1, EVIL),)},
        {"readings_after": (compared(f"{EVIL}/x", 0.0, -0.1, 0.1, EVIL),)},
        {"tried": (Tried(EVIL, EVIL, EVIL, (compared(f"{EVIL}/x", 0.0, -0.1, 0.1, EVIL),)),)},
    ],
    ids=["history", "attack", "comparison", "tried"],
)
def test_every_new_value_is_escaped(changes):
    page = Page(render_page(build_statement(evidence(**changes))))
    assert page.all("script") == [] and page.problems == []


@pytest.mark.parametrize(
    ("finding", "state", "said"),
    [
        (None, "held", ()),
        ({"answer": "no sign", "why_not": "", "strangers": 199}, "held", ("shows no sign", "199 made-up people")),
        ({"answer": "sign", "why_not": "", "strangers": 199}, "short", ("a sign of knowing", "allows it all the same")),
        ({"answer": "cannot say", "why_not": "", "strangers": 9}, "short", ("nobody can say", "9 made-up people")),
        ({"answer": "cannot say", "why_not": "nothing was given", "strangers": 0}, "short", ("was not asked",)),
    ],
)
def test_a_finding_says_in_plain_words_whether_the_model_was_asked_and_what_it_showed(finding, state, said):
    plain = plain_verdict({"guarantee": None, "searched": ["The index."], "finding": finding})
    told = " ".join((*plain.found, *plain.evidence))
    assert plain.state == state and all(words in told for words in said)
    assert ("The model" in told) == bool(said)
