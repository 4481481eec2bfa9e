import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends import BadRecords
from amends_unlearning.placement import Placement
from amends_unlearning.plan import lay_out

PEOPLE = [f"s_{number}" for number in range(12)]


def row(number, subjects):
    return {"id": f"{number:04x}", "prompt": "p", "answer": "a", "subjects": subjects}


some_rows = st.lists(st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True), max_size=30).map(
    lambda groups: [row(number, subjects) for number, subjects in enumerate(groups)]
)


@settings(max_examples=60, deadline=None)
@given(some_rows, st.sampled_from(PEOPLE))
def test_removing_a_person_moves_no_record_that_does_not_name_them(rows, gone):
    placement = Placement("ab", 4, 3)
    rest = [row for row in rows if gone not in row["subjects"]]

    def where(rows):
        shards = lay_out(rows, placement, 0, {})
        return {row["id"]: (shard.index, part.index) for shard in shards for part in shard.slices for row in part.rows}

    before = where(rows)
    assert where(rest) == {row["id"]: before[row["id"]] for row in rest}


@settings(max_examples=60, deadline=None)
@given(some_rows, st.sampled_from(PEOPLE))
def test_only_chains_from_the_removed_persons_slices_on_change(rows, gone):
    placement = Placement("ab", 4, 3)
    touched = {placement.of_record(row) for row in rows if gone in row["subjects"]}
    rest = [row for row in rows if gone not in row["subjects"]]

    def chains(rows):
        shards = lay_out(rows, placement, 0, {})
        return {(shard.index, part.index): part.chain for shard in shards for part in shard.slices}

    before, after = chains(rows), chains(rest)
    for place, chain in after.items():
        is_touched = any(there.shard == place[0] and there.slice <= place[1] for there in touched)
        assert (before[place] == chain) is not is_touched


def test_a_record_that_names_several_goes_whole_to_the_smallest_of_their_places():
    placement = Placement("ab", 4, 3)
    places = [placement.of(person) for person in PEOPLE[:3]]
    assert placement.of_record(row(0, PEOPLE[:3])) == min(places)
    assert placement.of_record(row(0, PEOPLE[2::-1])) == min(places)


def test_a_record_that_names_nobody_goes_by_its_id():
    placement = Placement("ab", 4, 3)
    assert placement.of_record(row(5, [])) == placement.of("0005")


def test_people_spread_evenly_over_shards_and_slices():
    placement = Placement("ab", 4, 2)
    people = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    counts = Counter(placement.of(person) for person in people)
    assert len(counts) == 8 and all(400 < count < 600 for count in counts.values())


def test_the_order_of_the_file_does_not_matter():
    rows = [row(number, [PEOPLE[number % 5]]) for number in range(20)]
    assert lay_out(rows, Placement("ab", 3, 2), 1, {}) == lay_out(rows[::-1], Placement("ab", 3, 2), 1, {})


def test_a_record_with_a_part_missing_or_an_id_twice_is_refused_by_its_number():
    with pytest.raises(BadRecords, match="record 2 has no subjects"):
        lay_out([row(0, []), {"id": "1", "prompt": "p", "answer": "a"}], Placement("ab", 1, 1), 0, {})
    with pytest.raises(BadRecords, match="record 2 has the id"):
        lay_out([row(0, []), row(0, [])], Placement("ab", 1, 1), 0, {})
