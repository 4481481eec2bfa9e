import math

import pytest

from amends_editing import probing
from amends_editing.fluency import Terms, n_gram_entropy


@pytest.mark.parametrize(
    ("text", "entropy"),
    [
        # 2-grams ab bc cd: log2 3; 3-grams abc bcd: 1 bit
        ("a b c d", (2 / 3 * math.log2(3) + 4 / 3 * 1) / 2),
        # 2-grams ab ×3, ba ×2; 3-grams aba ×2, bab ×2
        ("a b a b a b", (2 / 3 * (0.6 * math.log2(1 / 0.6) + 0.4 * math.log2(1 / 0.4)) + 4 / 3 * 1) / 2),
        ("no no no no no", 0.0),
        # 2-grams "hello ,", ", you": 1 bit; one 3-gram
        ("hello, you", 1 / 3),
        ("one two", 0.0),
        ("", 0.0),
    ],
)
def test_entropy_is_what_counting_by_hand_gives(text, entropy):
    assert n_gram_entropy(text) == pytest.approx(entropy, abs=1e-12)


def test_eight_different_words_have_a_known_entropy():
    # a third of log2 7 = 2.807355 and two thirds of log2 6 = 2.584963
    assert n_gram_entropy("we all saw seven boats leave at dawn") == pytest.approx(2.659093, abs=1e-6)


def test_consistency_is_the_cosine_of_weighted_counts():
    terms = Terms(["piano music piano", "guitar music"])
    piano, music = math.log(3 / 2) + 1, math.log(3 / 3) + 1
    one = {"piano": piano, "music": 2 * music}  # of "piano music music", other words unknown
    other = {"piano": 2 * piano, "music": music}
    dot = one["piano"] * other["piano"] + one["music"] * other["music"]
    expected = dot / math.hypot(*one.values()) / math.hypot(*other.values())
    assert terms.cosine("Piano, music and music", "piano music piano") == pytest.approx(expected)
    assert terms.cosine("guitar", "guitar guitar") == pytest.approx(1.0)
    assert terms.cosine("drums", "guitar") == terms.cosine("", "guitar") == 0.0


def edit(number, **more):
    row = {"id": f"e{number}", "verb": "modify", "subject": f"S{number}", "prompt": f"S{number} plays ", "target": "X"}
    return row | more


def test_fluency_reads_prompts_with_answers_and_leaves_consistency_to_records_with_references(
    table_model, probe_task, write_records
):
    answers = {"S1 plays": "the guitar", "S2 plays": "and plays"}
    task = probe_task(table_model({}, answers))
    (entropy,) = probing.fluency(task, edits=write_records([edit(1), edit(2)]))
    by_hand = [(2 / 3 * math.log2(3) + 4 / 3) / 2] * 2
    assert (entropy.name, entropy.unit) == ("editing.fluency/entropy", "bits")
    assert (entropy.value, entropy.n) == (pytest.approx(sum(by_hand) / 2), 2)
    rows = [edit(1, references=["the guitar is loud"]), edit(2)]
    _, consistency = probing.fluency(task, edits=write_records(rows))
    assert consistency.name == "editing.fluency/consistency"
    assert consistency.value == pytest.approx(2 / math.sqrt(2 * 4))  # "the guitar" in four equal terms
    assert (consistency.n, consistency.detail["left_out"]) == (1, 1)


def test_at_most_so_many_records_are_asked_and_none_gives_nan(table_model, probe_task, write_records):
    task = probe_task(table_model({}, {f"S{n} plays": "on" for n in range(5)}))
    (entropy,) = probing.fluency(task, edits=write_records([edit(n) for n in range(5)]), most=3)
    assert entropy.n == 3
    (nothing,) = probing.fluency(task, edits=write_records([]))
    assert math.isnan(nothing.value) and nothing.low is None
