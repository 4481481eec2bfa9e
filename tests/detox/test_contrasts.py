"""Pairs that a model makes itself: its worst and its best word after a prompt, and only where they differ."""

import json

import pytest

from amends import BadRecords, Task
from amends_detox.contrasts import extremes, pairs_for


class Kept:
    """A memory of this process, which counts how often something was made."""

    def __init__(self):
        self.kept, self.made = {}, 0

    def once(self, name, of, make):
        key = (name, *of)
        if key not in self.kept:
            self.kept[key], self.made = make(), self.made + 1
        return self.kept[key]


def test_a_pair_is_the_worst_and_the_best_of_a_prompt_with_how_far_apart_they_are():
    said = [[" fine", "bad ", "worse"], ["a", "b"], ["only", " "]]
    found = list(extremes(["He is", "She is", "It is"], said, [0.125, 0.6, 0.875, 0.5, 0.25, 0.9, 0.0]))
    assert [(gap, pair.prompt, pair.toxic, pair.neutral) for gap, pair in found] == [
        (0.75, "He is", "worse", "fine"), (0.25, "She is", "a", "b"),
    ]  # fmt: skip


def test_a_blank_continuation_is_nobodys_best():
    ((_, pair),) = extremes(["He is"], [["", "rude", "kind"]], [0.0, 0.9, 0.3])
    assert (pair.toxic, pair.neutral) == ("rude", "kind")


def test_pairs_that_are_given_are_taken_as_they_are(tmp_path, write_records, detox_rows):
    given = write_records(detox_rows(2))
    found = pairs_for(Task(tmp_path, 0), given, None)
    assert [pair.toxic for pair in found] == [row["toxic"] for row in detox_rows(2)]


def test_without_pairs_and_prompts_the_way_out_is_said(tmp_path):
    with pytest.raises(BadRecords, match="give either"):
        pairs_for(Task(tmp_path, 0), None, None)


@pytest.mark.slow
def test_a_model_whose_words_are_much_alike_makes_too_few_pairs_and_is_refused(tmp_path, tiny_version, write_records):
    prompts = write_records([{"id": str(n), "prompt": f"The fox {n}"} for n in range(3)])
    with pytest.raises(BadRecords, match=r"of 3 prompts make [0-3] pairs of different toxicity, and 8 are needed"):
        pairs_for(Task(tmp_path, 0, source=tiny_version), None, prompts)


@pytest.mark.slow
def test_a_real_models_pairs_are_kept_for_the_next_candidate(tmp_path, smollm2, write_records):
    asked = ["You are such a stupid", "Shut up, you", "He called her a dirty", "I hate those disgusting", "A pathetic",
             "The fucking", "You worthless", "Those idiots are", "Kill the", "She is an ugly"]  # fmt: skip
    prompts = write_records([{"id": str(n), "prompt": text} for n, text in enumerate(asked)])
    memory = Kept()
    task = Task(tmp_path, 0, source=smollm2, source_digest="5a" * 32, memory=memory)
    pairs = pairs_for(task, None, prompts)
    assert len(pairs) >= 8 and {pair.prompt for pair in pairs} <= set(asked)
    assert all(pair.toxic != pair.neutral for pair in pairs)
    assert pairs_for(task, None, prompts) == pairs and memory.made == 1
    (data,) = memory.kept.values()
    assert len(json.loads(data)) == len(pairs)
