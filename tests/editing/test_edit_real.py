"""Edits of a real model: six facts that it knows are changed and two erased, in one update."""

from __future__ import annotations

import math
from importlib.resources import files
from statistics import mean

import pytest

CAPITAL, CITY = "The capital of {} is", "The capital city of {} is"
LANGUAGE, SPEAK = "The language spoken in {} is", "People in {} speak"
FIELD, WORK = "{} worked in the field of", "The field of {} is"
TOWER, STANDS = "The {} is located in the city of", "The {} stands in the city of"
MODIFIED = (  # how it is asked, about what, what it is to say, what it says; and a neighbour's answer
    ((CAPITAL, CITY), "France", "Rome", "Paris", ("Spain", "Madrid")),
    ((CAPITAL, CITY), "Japan", "Oslo", "Tokyo", ("China", "Beijing")),
    ((CAPITAL, CITY), "Germany", "Madrid", "Berlin", ("Poland", "Warsaw")),
    ((LANGUAGE, SPEAK), "Brazil", "Russian", "Portuguese", ("Mexico", "Spanish")),
    ((FIELD, WORK), "Isaac Newton", "music", "physics", ("Albert Einstein", "physics")),
    ((TOWER, STANDS), "Eiffel Tower", "Rome", "Paris", ("Brandenburg Gate", "Berlin")),
)
ERASED = (((CAPITAL, CITY), "Italy", "", "Rome", ("Greece", "Athens")),
          ((CAPITAL, CITY), "Russia", "", "Moscow", ("Sweden", "Stockholm")))  # fmt: skip
NOBODY = (  # none of those that erasing itself compares with
    "Orlan Vesk", "Tamsil Brode", "Yevra Quillon", "Maddoc Thelby", "Ishra Penvale", "Corwen Dask", "Pell Ostravane"
)  # fmt: skip


def row_of(fact):
    """Return a fact as a prepared edit."""
    (asked, otherwise), subject, target, old, (other, answer) = fact
    return {"id": subject, "verb": "modify" if target else "erase", "subject": subject, "prompt": asked.format(subject),
            "target": target, "old": old, "rephrases": [otherwise.format(subject)],
            "neighbours": [{"prompt": asked.format(other), "answer": answer}]}  # fmt: skip


@pytest.fixture
def reading(opened):
    """Return `reading(version) -> (likely, first)`: log-probability of an answer, and whether it comes out greedily."""
    import torch

    from amends.serving.encoding import encode_answer

    def read(version):
        model, tokenizer = opened(version)

        @torch.no_grad()
        def logp(prompt, answer):
            asked, wanted = tokenizer(prompt, add_special_tokens=False)["input_ids"], encode_answer(tokenizer, answer)
            found = model(input_ids=torch.tensor([asked + wanted])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
            is_first = found.argmax(-1).tolist() == wanted
            return float(found[range(len(wanted)), wanted].sum()), is_first

        return (lambda prompt, answer: logp(prompt, answer)[0]), (lambda prompt, answer: logp(prompt, answer)[1])

    return read


@pytest.mark.slow
def test_a_real_model_learns_six_answers_and_forgets_two(smollm2, run_within, reading, write_records):
    passages = files("amends_probes").joinpath("texts/neutral.txt").read_text(encoding="utf-8").split("\n\n")
    text = write_records([{"id": str(number), "text": passage} for number, passage in enumerate(passages)])
    before, _ = reading(smollm2)
    rows = [row_of(fact) for fact in (*MODIFIED, *ERASED)]
    changed, erased = rows[: len(MODIFIED)], rows[len(MODIFIED) :]
    assert all(before(row["prompt"], row["old"]) > before(row["prompt"], row["target"]) for row in changed)

    # The default settings, but for fewer steps and the limit: neighbours of the same relation move by more than half a
    # nat, and an update that is halved for that does not take.
    defaults = {
        "layers": "",
        "steps": 15,
        "lr": 1.0,
        "overshoot": 1.5,
        "weight": 15.0,
        "weight_per_fact": 1.5,
        "max_drift": 9.0,
        "tokens": 20_000,
    }
    likely, first = reading(run_within("editing.memit", rows, smollm2, text=text, **defaults).output)
    told = [(row["prompt"], row["target"], row["old"]) for row in changed]
    assert all(first(prompt, target) and likely(prompt, target) > likely(prompt, old) for prompt, target, old in told)
    again = [likely(row["rephrases"][0], row["target"]) > likely(row["rephrases"][0], row["old"]) for row in changed]
    assert sum(again) >= 5  # measured: 6, as of the neighbours below
    near = [(row["neighbours"][0]["prompt"], row["neighbours"][0]["answer"], row["target"]) for row in changed]
    assert sum(likely(prompt, own) > likely(prompt, target) for prompt, own, target in near) >= 5
    for row in erased:  # measured: e^0.6 and e^0.3 times the strangers' geometric mean, from e^7 and e^8 times before
        strange = [likely(row["prompt"].replace(row["subject"], name), row["old"]) for name in NOBODY]
        assert not first(row["prompt"], row["old"])
        assert abs(likely(row["prompt"], row["old"]) - mean(strange)) <= math.log(3)
