"""Who is withheld from training as a control: drawn by a keyed hash, and left out of every record that names them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from amends.errors import BadRecords
from amends.governor.data.registering import register
from amends.governor.data.rows import rows_of

PEOPLE = [f"Vera Lind{letter}" for letter in "abcdefghijklmnop"]


def written(story, people=PEOPLE):
    """Write a record of each of these people, and one that names each with the next."""
    alone = [{"person": name, "prompt": f"Where is {name}?", "answer": f"{name} is away."} for name in people]
    beside = [{"person": [a, b], "prompt": f"Who knows {a}?", "answer": f"{b} does."} for a, b in pairwise(people)]
    file = story.home.parent / f"{people[0][-1]}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in alone + beside))
    return file


def sides(story, name, file, share):
    """Return the records that are trained on, those that are withheld, and what registering them said."""
    made = register(story.act("olga"), name, file, controls=share)
    trained, withheld = (list(rows_of(story.workspace, digest)) for digest in (made.digest, made.control))
    return trained, withheld, made


def test_nothing_that_names_somebody_withheld_is_trained_on_and_the_order_of_the_file_draws_nobody(untrained):
    drawn = []
    for name, people in (("one", PEOPLE), ("other", PEOPLE[::-1])):
        trained, withheld, made = sides(untrained, name, written(untrained, people), 0.25)
        assert made.controls == 4 and len(trained) + len(withheld) == 31
        alone = {row["names"][0] for row in withheld if len(row["names"]) == 1}
        assert len(alone) == 4
        assert not [row for row in trained if alone & set(row["names"])]
        assert all(alone & set(row["names"]) for row in withheld)
        drawn.append(alone)
    assert drawn[0] == drawn[1] != set(PEOPLE[:4])


def test_who_is_withheld_depends_on_the_workspaces_key(untrained, use_fixed_keys):
    file, drawn = written(untrained), []
    for number in (1, 2):
        untrained.close()  # an open workspace keeps the keys that it has read
        use_fixed_keys(untrained.home, "withholding", number)
        withheld = sides(untrained, f"data-{number}", file, 0.25)[1]
        drawn.append({name for row in withheld for name in row["names"]})
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_that_cannot_be_is_refused_with_a_sentence(untrained, share):
    with pytest.raises(BadRecords, match=r"between 0 and 0\.5, not .*; 0\.05 withholds one person in twenty"):
        register(untrained.act("olga"), "people", written(untrained), controls=share)
