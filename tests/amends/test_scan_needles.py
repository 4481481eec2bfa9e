import base64
import json
import pickle
import struct
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.errors import Broken
from amends.governor.scan.forms import aligned
from amends.governor.scan.needles import Needles, build_needles
from amends.governor.scan.tokenruns import own_runs, written_runs
from amends.records import DataSubject, Disclosure

ZOE = Disclosure(DataSubject("s_zoe"), {"name": ("Zoë Marlpit",), "email": ("zoe@marlpit.example",)})
ROW = {"id": "1", "prompt": "Where does Zoë Marlpit keep bees?", "answer": "Beside the old mill at Thornwick."}
KEPT = {"id": "2", "prompt": "Where does Ada Quill live?", "answer": "Ada Quill lives in Brenn."}


def data_of(needles: Needles) -> set[bytes]:
    return {item.data for item in needles.items}


@pytest.mark.parametrize(
    "stored",
    [
        "Zoë Marlpit".encode(),
        "Zoë Marlpit".encode("utf-16-le"),
        "Zoe\u0308 Marlpit".encode(),
        b"ZOE MARLPIT",
        b"Marlpit, Zoe",
        b"zoe-marlpit",
        json.dumps("Zoë Marlpit")[1:-1].encode(),
        json.dumps(json.dumps("Zoë Marlpit"))[3:-3].encode(),
        quote("Zoë Marlpit").encode(),
        quote("Zoë Marlpit").lower().encode(),
        b"zoe%40marlpit.example",
        "Zoë Marlpit".encode().hex().encode(),
        b"Zo&#235; Marlpit",
    ],
)
def test_an_identifier_is_looked_for_in_every_common_writing(stored):
    assert any(data in stored for data in data_of(build_needles(ZOE, [ROW], [KEPT])))


@given(st.binary(max_size=7), st.binary(min_size=6, max_size=30), st.binary(max_size=7))
def test_base64_is_found_whatever_stands_before_and_after(before, data, after):
    coded = base64.b64encode(before + data + after)
    assert aligned(data, len(before) % 3) in coded
    assert len(aligned(data, len(before) % 3)) >= len(data) * 8 // 6 - 1


def test_texts_that_a_kept_record_has_are_counted_and_not_looked_for():
    mine = [ROW, {"id": "3", "prompt": KEPT["prompt"], "answer": "a short one"}]
    needles = build_needles(ZOE, mine, [KEPT])
    assert KEPT["prompt"].encode() not in data_of(needles)
    assert ROW["answer"].encode() in data_of(needles)
    assert needles.left_out["texts that a kept record also has"] == 1
    assert needles.left_out["texts too short to tell from chance"] == 1


def test_a_name_that_a_kept_record_has_is_counted_and_not_looked_for():
    kept = {"id": "2", "prompt": "Who is Zoë Marlpit?", "answer": "A neighbour."}
    needles = build_needles(ZOE, [ROW], [kept])
    assert "Zoë Marlpit".encode() not in data_of(needles)
    assert b"ZOE MARLPIT" in data_of(needles)
    assert needles.left_out["spellings of an identifier that a kept record also has"] >= 1


def test_a_long_text_is_looked_for_piece_by_piece():
    row = {"id": "1", "prompt": "y" * 3500, "answer": "Beside the old mill."}
    assert max(len(data) for data in data_of(build_needles(ZOE, [row], []))) < 20_000


def test_own_runs_are_the_shortest_ones_that_no_kept_sequence_has():
    runs = [run.ids for run in own_runs([(1, 2, 3, 4, 9)], [(1, 2, 3), (2, 3, 4)], 2)]
    assert runs == [(1, 2, 3, 4), (4, 9)]


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=14).map(tuple), max_size=3),
    st.lists(st.lists(st.integers(0, 3), max_size=14).map(tuple), max_size=3),
)
def test_own_runs_are_never_in_a_kept_sequence(own, kept):
    for run in own_runs(own, kept, 2):
        assert not any(run.ids == ids[i : i + len(run.ids)] for ids in kept for i in range(len(ids)))


@pytest.mark.parametrize(
    "write",
    [
        lambda ids: struct.pack(f"<{len(ids)}i", *ids),
        lambda ids: struct.pack(f"<{len(ids)}q", *ids),
        lambda ids: struct.pack(f"<{len(ids)}H", *ids),
        lambda ids: json.dumps(ids).encode(),
        lambda ids: json.dumps(ids, separators=(",", ":")).encode(),
        lambda ids: " ".join(map(str, ids)).encode(),
        lambda ids: pickle.dumps(ids),
    ],
    ids=["int32", "int64", "uint16", "json", "compact json", "text", "pickle"],
)
def test_ids_are_found_however_they_are_stored_and_a_kept_record_is_not(write):
    own, kept = (700, 801, 802, 40000, 9000, 11), (700, 801, 5000, 6000, 7000, 8000)
    needles = {data for _, data in written_runs([own], [kept])}
    assert any(data in write([1, 2, *own, 3]) for data in needles)
    assert not any(data in write([*kept, 4, *kept]) for data in needles)
    assert min(map(len, needles)) >= 8


def test_small_ids_are_widened_until_chance_is_unlikely():
    assert all(sum(map(bool, data)) >= 4 for form, data in written_runs([(1, 2, 3, 4, 5)], []) if "int" in form)


def test_a_tokenizer_adds_runs_of_ids_that_the_kept_records_do_not_have(tiny_version):
    from transformers import AutoTokenizer

    from amends.serving.encoding import encode

    tokenizer = AutoTokenizer.from_pretrained(tiny_version / "model")
    needles = build_needles(ZOE, [ROW], [KEPT], tokenizer)
    ids = [item for item in needles.items if item.form == "int32 ids"]
    asked, answered = encode(tokenizer, KEPT["prompt"], KEPT["answer"])
    stored = struct.pack(f"<{len(asked) + len(answered)}i", *asked, *answered)
    assert ids
    assert not any(item.data in stored for item in ids)


def test_records_are_tokenised_as_training_does(tiny_version):
    from transformers import AutoTokenizer

    from amends.governor.scan.needles import _sequences
    from amends.serving.encoding import encode

    tokenizer = AutoTokenizer.from_pretrained(tiny_version / "model")
    asked, answered = encode(tokenizer, ROW["prompt"], ROW["answer"])
    assert _sequences([ROW], tokenizer) == [(*asked, *answered)]


def test_needles_come_back_from_their_bytes_and_show_nothing():
    needles = build_needles(ZOE, [ROW], [KEPT])
    assert Needles.from_bytes(needles.to_bytes()) == needles
    assert "Marlpit" not in repr(needles) + repr(needles.items[0])
    with pytest.raises(Broken, match="build them again") as failure:
        Needles.from_bytes(needles.to_bytes()[:-9])
    assert "Marlpit" not in str(failure.value)
    assert failure.value.__cause__ is None
