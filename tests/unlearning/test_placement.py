import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends import BadInput, BadRecords
from amends_unlearning import train_shards, unlearn_shards
from amends_unlearning.canaries import canary_rows
from amends_unlearning.placement import Place, Placement
from amends_unlearning.plan import lay_out

PEOPLE = [f"s_{number}" for number in range(12)]
PLACEMENTS = [Placement("ab", 4, 3), Placement("ab", 4, 3, hot_shards=1)]


def row(number, subjects, rate=None):
    made = {"id": f"{number:04x}", "prompt": "p", "answer": "a", "subjects": subjects}
    return made if rate is None else made | {"ask_rate": rate}


some_people = st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True)
some_rows = st.lists(st.tuples(some_people, st.sampled_from([None, 0.01, 2.0])), max_size=30).map(
    lambda groups: [row(number, *group) for number, group in enumerate(groups)]
)


@settings(max_examples=60, deadline=None)
@given(some_rows, st.sampled_from(PEOPLE), st.sampled_from(PLACEMENTS))
def test_removing_a_person_moves_no_record_that_does_not_name_them(rows, gone, placement):
    rest = [row for row in rows if gone not in row["subjects"]]

    def where(rows):
        shards = lay_out(rows, placement, 0, {})
        return {row["id"]: (shard.index, part.index) for shard in shards for part in shard.slices for row in part.rows}

    before = where(rows)
    assert where(rest) == {row["id"]: before[row["id"]] for row in rest}


@settings(max_examples=60, deadline=None)
@given(some_rows, st.sampled_from(PEOPLE), st.sampled_from(PLACEMENTS))
def test_only_chains_from_the_removed_persons_slices_on_change(rows, gone, placement):
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


def test_where_no_record_says_how_likely_its_people_are_to_ask_the_places_are_those_of_plain_hashing():
    placement = Placement("ab", 4, 3)
    for person in PEOPLE:
        digest = hashlib.sha256(f"ab:{person}".encode()).digest()
        plain = Place(int.from_bytes(digest[:8], "big") % 4, int.from_bytes(digest[8:16], "big") % 3)
        assert placement.of_record(row(0, [person])) == placement.of_record(row(0, [person], 0.09)) == plain
    rows = [row(number, [PEOPLE[number % 5]]) for number in range(20)]
    rare = [row(number, [PEOPLE[number % 5]], 0.0) for number in range(20)]
    assert [s.chain for s in lay_out(rows, placement, 2, {})] == [s.chain for s in lay_out(rare, placement, 2, {})]


def test_who_is_likely_to_ask_is_in_the_last_slice_of_the_same_shard():
    placement = Placement("ab", 4, 3)
    for person in PEOPLE:
        assert placement.of_record(row(0, [person], 0.1)) == Place(placement.of(person).shard, 2)


def test_reserved_shards_hold_those_who_are_likely_to_ask_and_nobody_else():
    placement = Placement("ab", 5, 2, hot_shards=2)
    hot = {placement.of_record(row(0, [f"s_{number}"], 3)) for number in range(200)}
    cold = {placement.of_record(row(0, [f"s_{number}"])) for number in range(200)}
    assert {place.shard for place in hot} == {3, 4} and {place.shard for place in cold} == {0, 1, 2}
    assert len(hot) == 4 and len(cold) == 6


def test_canaries_are_planted_in_reserved_shards_too():
    placement = Placement("ab", 4, 2, hot_shards=1)
    people = {planted["subjects"][0]: placement.of_record(planted).shard for planted in canary_rows(placement, 2)}
    assert Counter(people.values()) == {0: 2, 1: 2, 2: 2, 3: 2}


@pytest.mark.parametrize(
    "wrong", [{"hot_shards": 4}, {"hot_shards": -1}, {"hot_rate": 0.0}, {"hot_rate": float("nan")}]
)
def test_reserving_every_shard_or_a_rate_of_nothing_is_refused(wrong):
    with pytest.raises(BadInput, match="hot_"):
        Placement("ab", 4, 2, **wrong)


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "often", True, None])
def test_a_rate_that_is_no_number_is_refused_and_never_taken_for_none(rate):
    with pytest.raises(BadRecords, match="no number of requests a year"):
        Placement("ab", 4, 2).of_record({**row(0, ["s_1"]), "ask_rate": rate})


def test_training_and_erasure_place_alike_by_default():
    train, erase = ({p.name: p.default for p in op.parameters} for op in (train_shards, unlearn_shards))
    for name in ("shards", "slices", "hot_shards", "hot_rate"):
        assert train[name] == erase[name]


LIKELY, SELDOM, SHARE = 1.0, 0.02, 0.1  # requests a year, and how many people are of the first kind


def population(count):
    """Return a record for each of so many people, of whom some are likely to ask."""
    keys = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(count))
    return [row(number, [key], LIKELY if number % 10 == 0 else SELDOM) for number, key in enumerate(keys)]


def forgetful(rows):
    """Return the same records without their rates."""
    return [{name: value for name, value in row.items() if name != "ask_rate"} for row in rows]


class Laid:
    """Records, each in its place."""

    def __init__(self, rows, placement):
        self.place = {record["id"]: placement.of_record(record) for record in rows}
        self.held = Counter(self.place.values())

    def retrained(self, gone):
        """Return how many records are trained again, and in how many shards, to take some records out."""
        places = [self.place[id] for id in gone]
        first = {shard: min(p.slice for p in places if p.shard == shard) for shard in {p.shard for p in places}}
        touched = sum(n for p, n in self.held.items() if p.slice >= first.get(p.shard, p.slice + 1))
        return touched - len(places), len(first)


def test_a_request_retrains_fewer_records_in_expectation_than_by_plain_hashing():
    rows, placement = population(3000), Placement("ab", 8, 4)
    weights = [record["ask_rate"] for record in rows]
    plain = forgetful(rows)

    def expected(rows):
        laid = Laid(rows, placement)
        each = [laid.retrained([record["id"]])[0] for record in rows]
        return sum(w * n for w, n in zip(weights, each, strict=True)) / sum(weights)

    people, slices = len(rows) / placement.shards, placement.slices
    asked = SHARE * LIKELY / (SHARE * LIKELY + (1 - SHARE) * SELDOM)  # of the requests, by those likely to ask
    last = SHARE + (1 - SHARE) / slices
    earlier = (1 - SHARE) * (slices + 1) / (2 * slices) + SHARE
    assert expected(plain) == pytest.approx(people * (slices + 1) / (2 * slices), rel=0.05)
    assert expected(rows) == pytest.approx(people * (asked * last + (1 - asked) * earlier), rel=0.05)
    assert expected(rows) < 0.65 * expected(plain)


def test_reserved_shards_let_a_batch_of_requests_touch_fewer_shards_and_records():
    rows = population(1000)
    draw = random.Random(7)
    batches = [draw.choices(rows, [record["ask_rate"] for record in rows], k=6) for _ in range(100)]

    def mean(rows, placement):
        laid = Laid(rows, placement)
        found = [laid.retrained({record["id"] for record in some}) for some in batches]
        return tuple(sum(column) / len(batches) for column in zip(*found, strict=True))

    plain = mean(forgetful(rows), Placement("ab", 8, 4))
    last = mean(rows, Placement("ab", 8, 4))
    reserved = mean(rows, Placement("ab", 8, 4, hot_shards=1))
    assert reserved[0] < last[0] < plain[0]
    assert reserved[1] < 0.6 * plain[1]
