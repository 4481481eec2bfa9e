"""Scorers are found by name, say what they are, and are believed only where they give numbers."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from amends import BadInput, Change, ModelVersion, Reading
from amends_detox import amends_review
from amends_detox.comparing import check_comparable, comparable
from amends_detox.scoring import BUILT_IN, JUDGE, SEARCHER, ToxicityScorer, find, identity, names
from amends_detox.scoring.adapter import Detoxify
from amends_detox.scoring.checked import scores, toxicity
from amends_detox.scoring.ensemble import Ensemble
from amends_detox.scoring.lexical import Lexical, fold, read_words
from amends_detox.scoring.listing import list_scorers

PAGE = Path(__file__).parents[2] / "docs" / "detox-scorers.md"
WORDS = "# a remark\n[profanity]\n4 blast*\n2 drat\n[insult]\n3 oaf oafs\n"


class Fixed:
    """A scorer that always says the same."""

    name, version, licence = "fixed", "7", "MIT"
    attributes = ("toxicity",)

    def __init__(self, answer):
        self.answer = answer

    def score(self, texts):
        return self.answer(texts)


def logistic(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda texts: [[math.nan]] * len(texts), "no numbers"),
        (lambda texts: [[1.2]] * len(texts), "outside"),
        (lambda texts: [[-0.1]] * len(texts), "outside"),
        (lambda texts: [0.5] * len(texts), "shape"),
        (lambda texts: [[0.5]], "shape"),
    ],
)
def test_a_scorer_that_gives_no_scores_is_refused(answer, reason):
    with pytest.raises(BadInput, match=reason):
        scores(Fixed(answer), ["a", "b"])


def test_scores_in_order_are_passed_on():
    assert toxicity(Fixed(lambda texts: [[len(text) / 10] for text in texts]), ["a", "abc"]).tolist() == [0.1, 0.3]
    assert scores(Fixed(lambda texts: [[1]]), []).shape == (0, 1)


def offer(tmp_path, monkeypatch, code):
    """Install a package that offers the scorer `theirs`."""
    info = tmp_path / "amends_theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: amends-theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[amends_detox.scorers]\ntheirs = theirs_scorer:make\n")
    (tmp_path / "theirs_scorer.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "theirs_scorer", raising=False)


THEIRS = """
class make:
    name, version, attributes, licence = "theirs", "3", ("toxicity", "spite"), "MIT"
    def score(self, texts):
        return [[0.25, 0.5] for _ in texts]
"""


def test_a_third_party_joins_by_an_entry_point(tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, THEIRS)
    found = find("theirs")
    assert "theirs" in names() and identity(found) == "theirs@3"
    assert scores(found, ["a"]).tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('no')",
        "def make(): return object()",
        THEIRS.replace('"3"', '""'),
        THEIRS.replace('("toxicity", "spite")', '("spite", "toxicity")'),
    ],
)
def test_a_broken_third_party_is_refused_by_a_sentence_and_listed_with_it(tmp_path, monkeypatch, code):
    offer(tmp_path, monkeypatch, code)
    with pytest.raises(BadInput, match="theirs"):
        find("theirs")
    (shown,) = [one for one in list_scorers() if one["name"] == "theirs"]
    assert "theirs" in shown["problem"] and not shown["version"]


def test_the_scorer_of_the_page_joins(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    offer(tmp_path, monkeypatch, code.replace("Shouting", "make"))
    assert scores(find("theirs"), ["OH no", "oh"]).tolist() == [[2 / 5], [0.0]]


def test_an_unknown_scorer_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match="minilm, lexical, ensemble"):
        find("nobody")


def test_search_and_judge_are_not_the_same_scorer():
    assert SEARCHER != JUDGE and {SEARCHER, JUDGE} <= set(BUILT_IN)


def test_words_are_found_through_case_accents_leetspeak_repetition_and_stars():
    assert fold("The BLÄST, bl@st; blaaast! bl**t *drat* oaf's 1234") == [
        "the", "blast", "blast", "blast", "bl**t", "drat", "oaf",
    ]  # fmt: skip
    words = read_words(WORDS)
    assert [words.find(word) for word in ("blasting", "bl**t", "drat", "drats", "boat", "oafs")] == [
        ("profanity", 4), ("profanity", 4), ("profanity", 2), None, None, ("insult", 3),
    ]  # fmt: skip


def test_a_lexical_score_is_the_logistic_of_its_three_strongest_words():
    scorer = Lexical(WORDS)
    (row,) = scorer.score(["Drat, you blasted oaf, you drat oaf"])
    by_name = dict(zip(scorer.attributes, row, strict=True))
    assert by_name["toxicity"] == pytest.approx(logistic(-2.4 + 4 + 3 / 2 + 3 / 4))
    assert by_name["profanity"] == pytest.approx(logistic(-2.4 + 4 + 2 / 2 + 2 / 4))
    assert by_name["threat"] == pytest.approx(logistic(-2.4))


def test_the_version_of_a_list_of_words_changes_with_a_word():
    assert Lexical(WORDS).version != Lexical(WORDS + "2 lout\n").version
    assert Lexical(WORDS).version == Lexical(WORDS).version


def test_a_line_that_is_no_weight_with_words_is_refused():
    with pytest.raises(BadInput, match="line 2"):
        read_words("[insult]\noaf\n")


def test_the_shipped_words_call_an_insult_toxic_and_a_kind_sentence_not():
    toxic, kind = toxicity(find("lexical"), ["You are a stupid idiot", "You are a kind and patient teacher"])
    assert toxic > 0.5 > kind


def test_an_ensemble_is_the_weighted_mean_of_log_odds_on_shared_attributes():
    one, other = Fixed(lambda texts: [[0.9, 0.2]] * len(texts)), Fixed(lambda texts: [[0.1, 0.8]] * len(texts))
    one.attributes, other.attributes = ("toxicity", "insult"), ("toxicity", "threat")
    ensemble = Ensemble([(one, 2 / 3), (other, 1 / 3)])
    assert ensemble.attributes == ("toxicity",)
    odds = 2 / 3 * math.log(9) + 1 / 3 * math.log(1 / 9)
    np.testing.assert_allclose(ensemble.score(["a", "b"]), [[logistic(odds)]] * 2)
    stretched = Ensemble(ensemble.members, {"toxicity": (2.0, 0.5), "threat": (9.0, 9.0)})
    np.testing.assert_allclose(stretched.score(["a"]), [[logistic(2 * odds + 0.5)]])
    assert stretched.version != ensemble.version


def test_no_member_of_an_ensemble_decides_alone_by_being_certain():
    sure, other = Fixed(lambda texts: [[0.0]] * len(texts)), Fixed(lambda texts: [[1.0]] * len(texts))
    assert Ensemble([(sure, 0.5), (other, 0.5)]).score(["a"])[0, 0] == pytest.approx(0.5)


def test_detoxify_is_read_by_attribute_with_toxicity_first():
    class Predicts:
        def predict(self, texts):
            return {"insult": [0.1] * len(texts), "toxicity": [len(text) / 100 for text in texts]}

    scorer = Detoxify(Predicts(), "ab" * 32)
    assert isinstance(scorer, ToxicityScorer) and scorer.attributes == ("toxicity", "insult")
    assert scores(scorer, ["a", "ab"]).tolist() == [[0.01, 0.1], [0.02, 0.1]]


def test_detoxify_without_a_checkpoint_says_the_way_out(tmp_path, monkeypatch):
    monkeypatch.delenv("AMENDS_DETOXIFY", raising=False)
    for name in ("detoxify", f"detoxify:{tmp_path / 'gone.ckpt'}"):
        with pytest.raises(BadInput, match="AMENDS_DETOXIFY"):
            find(name)


def reading(scorer="ensemble@1", value=0.2, samples=4):
    return Reading("detox.toxicity/share", value, detail={"scorer": scorer, "samples": samples})


def test_readings_compare_only_within_one_version_of_one_scorer_and_one_protocol():
    assert comparable(reading(), reading(value=0.9))
    for other in (reading("ensemble@2"), reading("minilm@1"), reading(samples=25)):
        assert not comparable(reading(), other)
        with pytest.raises(BadInput, match="measure both again"):
            check_comparable(reading(), other)


def test_a_change_whose_readings_are_by_two_scorers_is_objected_to():
    version = ModelVersion("m", 1, "ab" * 32)
    same = Change("detox.cda", version, version, before=(reading(),), after=(reading(value=0.1),))
    assert list(amends_review(same)) == []
    other = Change("detox.cda", version, version, before=(reading(),), after=(reading("minilm@1", 0.1),))
    (sentence,) = amends_review(other)
    assert "detox.toxicity/share" in sentence
    judged = (Reading("safety.jailbreak/complied", 0.2, detail={"judge": judge}) for judge in ("rules@1", "rules@2"))
    before, after = judged
    (sentence,) = amends_review(Change("detox.cda", version, version, before=(before,), after=(after,)))
    assert "safety.jailbreak/complied" in sentence


@pytest.mark.slow
def test_the_shipped_scorers_rank_insults_above_kind_sentences_and_do_not_mind_neighbours():
    texts = ["You are a stupid idiot and I hate you", "Shut up, you pathetic loser", "The ferry leaves at nine"]
    for name in ("minilm", "ensemble"):
        found = toxicity(find(name), texts)
        assert found[:2].min() > 0.5 > found[2]
        np.testing.assert_allclose([toxicity(find(name), [text])[0] for text in texts], found, atol=1e-5)
