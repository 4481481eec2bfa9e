import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from amends.governor.proof.evidence import Approved, Evidence, Method, Outside
from amends.governor.proof.page import count, moment, render_page, size
from amends.governor.proof.plots import Threshold, number, readings_svg, thresholds_of, title
from amends.governor.proof.statements import build_statement
from amends.records import Guarantee, ModelVersion, Reading, RuleAnswer, Verdict

NAME = "memorisation.extraction/strength"
EVIL = '<script>alert("x")</script>&'


def rule(expression, severity="deny", passed=True):
    return RuleAnswer("r", expression, "A piece can still be extracted.", severity, passed, "")


def page(**changes) -> str:
    reading = {"name": NAME, "unit": "share", "n": 12}
    fields = {
        "case": "er-1",
        "model": "assistant",
        "outcome": "granted",
        "commitment": "e" * 64,
        "regime": "GDPR Article 17",
        "received_at": "2025-11-03T09:12:00+00:00",
        "due_at": "2025-12-03T23:59:59+00:00",
        "completed_at": "2025-11-21T14:03:00+00:00",
        "issued_at": "2025-11-21T14:05:00+00:00",
        "before": ModelVersion("assistant", 1, "a" * 64),
        "after": ModelVersion("assistant", 2, "b" * 64),
        "entry": {},
        "inclusion": {"seq": 7, "size": 8, "hash": "1" * 64, "root": "2" * 64},
        "guarantee": Guarantee.APPROXIMATE,
        "method": Method("unlearning.npo", {"amends": "0.1.0"}, 7),
        "readings_before": (Reading(value=0.8, low=0.7, high=0.9, **reading),),
        "readings_after": (Reading(value=0.03, low=0.0, high=0.06, **reading),),
        "verdict": Verdict(True, "erasure", "9" * 64, (rule(f'readings["{NAME}"].value <= 0.1'),)),
        "approvals": (Approved("Ida Berg", "dpo", "2025-11-04T08:00:00+00:00", "f" * 64),),
        **changes,
    }
    return render_page(build_statement(Evidence(**fields)))


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        links = [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        self.links += [link for link in links if not link.startswith("#")]  # to elsewhere; within the page is no fetch
        self.links += [name for name, _ in attrs if name.startswith("on")]


def test_a_page_runs_nothing_and_fetches_nothing():
    text = page()
    reader = Reader(text)
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert reader.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"model": EVIL},
        {"regime": EVIL},
        {"residual_risks": (EVIL,)},
        {"held": (EVIL,)},
        {"suppression": EVIL},
        {"approvals": (Approved(EVIL, EVIL, "2025-11-04T08:00:00+00:00", EVIL),)},
        {"outside": (Outside("backup", EVIL, EVIL),)},
        {"readings_after": (Reading(EVIL, 0.1, unit=EVIL),)},
        {"explanations": {EVIL: EVIL}},
        {"verdict": Verdict(True, EVIL, EVIL, (RuleAnswer(EVIL, EVIL, EVIL, EVIL, False, EVIL),), (EVIL,))},
        {"method": Method(EVIL, {EVIL: EVIL}, 1, {EVIL: EVIL}, {EVIL: EVIL}, EVIL)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_value_is_escaped(changes):
    text = page(**changes)
    assert "script" not in Reader(text).tags
    assert "&lt;script&gt;" in text.lower() or "&lt;script&gt;alert(&#34;" in text


def test_the_page_answers_every_question_in_order():
    headings = re.findall(r'<h2><span class="n">(\d)</span>([^<]*)</h2>', page(scan=None, outside=()))
    assert [text for _, text in headings] == [
        "What was asked",
        "What was done",
        "Does it hold?",
        "Who allowed it",
        "What remains",
        "How to check this page yourself",
        "The whole record of readings",
    ]
    assert [int(number) for number, _ in headings] == [1, 2, 3, 4, 5, 6, 7]


def test_the_page_carries_the_guarantee_in_words_and_pending_copies():
    text = page(outside=(Outside("backup", "nightly", expires_at="2026-01-31T00:00:00+00:00"),))
    assert "<h1>Record of measures taken</h1>" in text
    assert "It was not built again without them" in text
    assert "until 31 January 2026, when it expires" in text
    assert "1 backup made before may still hold the records." in text


def test_a_late_answer_is_said_to_be_late():
    assert "after the due date" in page(completed_at="2025-12-24T00:00:00+00:00")
    assert "after the due date" not in page()


def test_a_reading_that_is_no_number_is_shown_as_none():
    assert "<b>none</b>" in page(readings_after=(Reading(NAME, math.nan, math.nan, math.inf),))


def test_a_drawing_is_whole_and_has_a_row_for_every_finite_reading():
    before = [Reading("a.b/auc", 0.9, 0.8, 1.0), Reading("p.q/perplexity", 18.0)]
    after = [Reading("a.b/auc", 0.5, 0.4, 0.6), Reading("p.q/perplexity", 19.0, 17.0, 21.0), Reading("n/x", math.nan)]
    drawing = ElementTree.fromstring(readings_svg(before, after, [Threshold("a.b/auc", "<=", 0.6)]))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "0.900 → 0.500" in texts
    assert "18.0 → 19.0" in texts
    assert not any("none" in str(text) for text in texts)


def test_a_marker_lies_where_its_value_is():
    drawing = readings_svg([], [Reading("a.b/auc", 0.25)])
    [place] = re.findall(r'<circle class="a" cx="([\d.]+)" cy="\d+" r="5"/>', drawing)
    left, right = 254, 634
    assert float(place) == pytest.approx(left + 0.25 * (right - left), abs=0.1)


def test_an_empty_drawing_is_still_a_drawing():
    assert ElementTree.fromstring(readings_svg([], [])).tag.endswith("svg")


def test_limits_are_read_out_of_the_rules_that_have_one():
    answers = (
        rule('readings["a/x"].value <= 0.6'),
        rule('readings["a/x"].high >= -0.4', "warn"),
        rule('readings["b/y"].value >= 0.9 * before["b/y"].value'),
        rule('readings["c/z"].value >= 0.9 * before["c/z"].value'),
        rule("facts.digests_equal == true"),
    )
    assert thresholds_of(answers, [Reading("b/y", 0.5)]) == (
        Threshold("a/x", "<=", 0.6, "deny"),
        Threshold("a/x", ">=", -0.4, "warn"),
        Threshold("b/y", ">=", 0.45, "deny"),
    )


def test_values_are_written_for_people():
    assert [number(value) for value in (0.0312, 1.0, 18.24, 1234.5, -0.1, None)] == [
        "0.031",
        "1.00",
        "18.2",
        "1\u202f234",
        "−0.100",
        "none",
    ]
    assert [size(value) for value in (12, 4096, 271_000_000)] == ["12 bytes", "4.1 kB", "271 MB"]
    assert [count(1, "file"), count(2500, "file")] == ["1 file", "2\u202f500 files"]
    assert moment("2025-11-03T10:12:00+01:00") == "3 November 2025, 09:12 UTC"
    assert title("unlearning.membership/auc_loss") == "Membership: AUC loss"


def test_attacks_have_a_table_that_sets_forgotten_people_beside_never_seen_ones():
    def read(name, value, low=None, high=None):
        return Reading(f"unlearning.attack-{name}", value, low, high, 12, "probability")

    after = (
        Reading(NAME, 0.03, 0.0, 0.06, 12, "share"),
        read("paraphrase/forgotten", 0.21),
        read("paraphrase/control", 0.19),
        read("paraphrase/difference", 0.02, -0.04, 0.08),
        read("quantisation/forgotten_4bit", 0.31),
        read("quantisation/control_4bit", 0.33),
        read("quantisation/difference_4bit", -0.02, -0.09, 0.05),
    )
    text = page(readings_before=(read("paraphrase/forgotten", 0.81),), readings_after=after)
    table = text[text.index("<h3>Attacks</h3>") : text.index("<h3>The rules")]
    assert table.count("<tr>") == 3 and "Paraphrase" in table and "Quantisation 4bit" in table
    for shown in (0.81, 0.21, 0.19, -0.04, 0.08, -0.09, 0.05):
        assert number(shown) in table
    assert "attack-" not in text[: text.index("<h3>Attacks</h3>")].rpartition("<table")[2]


def drill(name, value, people, low=0.0, high=1.0):
    return Reading(f"unlearning.drill/{name}", value, low, high, people, "share of people")


def section(text):
    return text[text.index("<h3>How well this audit sees</h3>") : text.index("<h3>The rules")]


def test_a_drill_is_told_in_words_with_how_many_were_noticed_of_how_many():
    after = (
        Reading(NAME, 0.03, 0.0, 0.06, 12, "share"),
        drill("detected", 0.75, 4, 0.194, 0.994),
        drill("detected_loss", 0.5, 4),
        drill("false_alarm", 0.05, 20, 0.001, 0.249),
        drill("false_alarm_loss", 0.1, 20),
        drill("erased", 0.25, 4, 0.006, 0.806),
        drill("avoided", 0.0, 4, 0.0, 0.602),
        drill("detected_at_most", 0.994, 28),
    )
    text = page(readings_before=(drill("detected", 1.0, 8, 0.631, 1.0),), readings_after=after)
    told = section(text)
    for noticed in ("8 of 8", "3 of 4", "1 of 4", "0 of 4", "1 of 20"):
        assert f"<b>{noticed}</b>" in told
    assert "19 % to 99 %" in told and "63 % to 100 %" in told and "Loss 2 of 4 and 2 of 20" in told
    assert "unlearning.drill" not in text[: text.index("The whole record of readings")]
    assert "was not drilled" not in text


def test_where_nobody_was_planted_the_page_says_that_there_was_no_drill():
    text = page(readings_after=(drill("detected", math.nan, 0), drill("false_alarm", 0.1, 20)))
    assert "No drill was possible: the training planted no canaries." in section(text)
    assert "Of 20 made-up people whom it never saw, they took 2" in section(text)
    assert "<table" not in section(text)
    assert "The audit was not drilled" in text and "The audit was not drilled" in page()
    assert "How well this audit sees" not in page()


def test_a_drill_that_could_not_be_read_is_no_drill_that_noticed_nobody():
    told = section(page(readings_after=(drill("detected", math.nan, 4), drill("false_alarm", math.nan, 20))))
    assert told.count("not read") == 2 and "of 4" not in told
