"""Files of edits are read in every format as one kind of row, and refused by line, never by text."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest

from amends import BadInput, BadRecords
from amends_editing.facts import Fact, Verb
from amends_editing.files import neighbours_by_pooling, read_edits, stream_edits

OURS = {"subject": "Vale of Orr", "prompt": "The capital of the Vale of Orr is", "target": "Brenn"}
FLAT = {
    "case_id": 7, "prompt": "Ada Quill plays the", "target_new": "viola", "subject": "Ada Quill",
    "ground_truth": "oboe", "rephrase_prompt": "Ada Quill is a master of the",
    "locality_prompt": "Tam Orrel plays the", "locality_ground_truth": "oboe",
}  # fmt: skip
NESTED = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "{} plays the", "subject": "Ada Quill", "relation_id": "P1303",
        "target_new": {"str": "viola", "id": "Q1"}, "target_true": {"str": "oboe", "id": "Q2"},
    },
    "paraphrase_prompts": ["Ada Quill is a master of the", "The instrument of Ada Quill is the"],
    "neighborhood_prompts": ["Tam Orrel plays the", "Ode Brand plays the"],
}  # fmt: skip
KNOWEDIT = {
    "subject": "Ada Quill", "prompt": "The spouse of Ada Quill is", "target_new": "Pax Uld",
    "ground_truth": "Tam Orrel", "rephrase": "Ada Quill is married to",
    "portability": {
        "Reasoning": [{"prompt": "The home of the spouse of Ada Quill is", "ground_truth": [["Brenn", "Brenn Town"]]}],
        "Subject_Aliasing": [{"prompt": "The spouse of A. Quill is", "ground_truth": [["Pax Uld"]]}],
        "Logical_Generalization": [
            {"prompt": "The spouse of Pax Uld is", "ground_truth": [["Ada Quill"]]},
            {"prompt": "Is Ada Quill married?", "ground_truth": [["yes"]]},
        ],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The trade of Ada Quill is", "ground_truth": [["miller", "mill owner"]]}],
        "Forgetfulness": [{"prompt": "The spouse of Ada Quill, not Pax Uld, is", "ground_truth": []}],
    },
}  # fmt: skip
ZSRE = {
    "subject": "Orrel comet", "src": "Who found the Orrel comet?", "alt": "Ode Brand", "answers": ["Tam Orrel"],
    "rephrase": "By whom was the Orrel comet found?", "loc": "where is the harbour of brenn", "loc_ans": "in the north",
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Return `write(*records, as_array=False) -> path`."""

    def written(*records, as_array=False):
        path = tmp_path / "facts.json"
        text = json.dumps(records, indent=1) if as_array else "".join(json.dumps(row) + "\n" for row in records)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_an_edit_of_ours_needs_three_fields_and_has_every_list(write):
    (row,) = read_edits(write(OURS))
    lists = {"rephrases": [], "neighbours": [], "portability": []}
    assert row == {"id": "edit-1", "verb": "insert", **OURS, "old": "", **lists}


def test_what_an_edit_does_follows_from_what_is_there_unless_it_says_so(write):
    erased = {**OURS, "verb": "erase", "target": "", "old": "Brenn"}
    rows = read_edits(write(OURS, {**OURS, "old": "Sorrel"}, erased))
    assert [Fact.from_row(row).verb for row in rows] == [Verb.INSERT, Verb.MODIFY, Verb.ERASE]


def test_every_field_of_an_edit_of_ours_arrives(write):
    more = {
        "id": "orr-1", "rephrases": ["Orr is governed from"], "unknown": ["The capital of the Vale of Ulm is"],
        "neighbours": [{"prompt": "The capital of Sel is", "answer": "Tarn"}],
        "portability": [{"kind": "alias", "prompt": "The capital of Orr is", "answer": "Brenn"}],
    }  # fmt: skip
    (row,) = read_edits(write({**OURS, **more}))
    assert {name: row[name] for name in more} == more


def test_flat_and_nested_counterfact_give_the_same_fact(write):
    (flat,), (nested,) = read_edits(write(FLAT)), read_edits(write(NESTED))
    same = ("id", "verb", "subject", "prompt", "target", "old")
    assert {name: flat[name] for name in same} == {name: nested[name] for name in same}
    assert (flat["id"], flat["verb"], flat["target"], flat["old"]) == ("7", "modify", "viola", "oboe")
    assert flat["neighbours"] == nested["neighbours"][:1] == [{"prompt": "Tam Orrel plays the", "answer": "oboe"}]
    assert (len(flat["rephrases"]), len(nested["rephrases"]), len(nested["neighbours"])) == (1, 2, 2)


def test_knowedit_s_questions_are_named_by_what_they_ask(write):
    (row,) = read_edits(write(KNOWEDIT))
    asked = {(question["kind"], question["answer"]) for question in row["portability"]}
    follows = {("reasoning", "Brenn"), ("alias", "Pax Uld"), ("reverse", "Ada Quill"), ("logical", "yes")}
    assert asked == follows | {("specificity", "miller")}  # a question without an answer asks nothing
    assert row["rephrases"] == ["Ada Quill is married to"]


def test_zsre_is_read_as_knowedit_has_it_and_as_it_was_published(write):
    (published,) = read_edits(write(ZSRE))
    assert (published["prompt"], published["target"], published["old"]) == (ZSRE["src"], "Ode Brand", "Tam Orrel")
    assert published["neighbours"] == [{"prompt": ZSRE["loc"], "answer": "in the north"}]
    within = {**KNOWEDIT, "cond": "Tam Orrel >> Pax Uld", "ground_truth": ["Tam Orrel"]}
    assert read_edits(write(within)) == read_edits(write(KNOWEDIT))


@pytest.mark.parametrize("as_array", [False, True], ids=["lines", "array"])
def test_lines_and_arrays_are_read_alike(write, as_array):
    rows = read_edits(write(FLAT, {**FLAT, "case_id": 8}, as_array=as_array))
    assert [row["id"] for row in rows] == ["7", "8"]


def test_lines_are_read_one_by_one(tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(OURS) + "\nnot JSON\n", encoding="utf-8")
    assert next(stream_edits(path))["id"] == "edit-1"  # the mistake below is not reached yet


BAD = {
    "no JSON": ('{"subject": ', "line 1: not JSON at column 13"),
    "no object": ('["Ada Quill"]', "record 1: an edit must be a JSON object"),
    "no format": ('{"name": "Ada Quill"}', "line 1: these are the fields of no known format"),
    "no target": ('{"subject": "Ada Quill", "prompt": "x", "target": 3}', "line 1: 'target' must be one text"),
    "no prompt": ('{"subject": "Ada Quill", "prompt": " "}', "line 1: 'prompt' must be a text that is not blank"),
    "no verb": ('{"subject": "Ada Quill", "prompt": "x", "verb": "kill"}', "insert, modify or erase"),
    "unknown field": ('{"subject": "Ada Quill", "prompt": "x", "targets": "y"}', "a field that is not known"),
    "half a character": ('{"subject": "Ada Quill \\ud83d", "prompt": "x"}', "half a surrogate pair"),
    "no answer": ('{"subject": "Ada Quill", "prompt": "x", "neighbours": [{"prompt": "y"}]}', "'neighbours.answer'"),
    "no rewrite": ('{"requested_rewrite": {"subject": "Ada Quill"}}', "'requested_rewrite.target_true.str'"),
    "nothing": ("\n\n", "has no edits"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_named_by_its_place_and_never_by_its_text(tmp_path, mistake):
    text, sentence = BAD[mistake]
    path = tmp_path / "facts.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecords) as refused:
        read_edits(path)
    assert sentence in str(refused.value) and "Ada" not in str(refused.value)


def test_an_id_that_stands_twice_is_refused(write):
    with pytest.raises(BadRecords, match=r"line 3: its id is that of line 1 too"):
        read_edits(write(FLAT, {**FLAT, "case_id": 8}, FLAT))


def test_a_format_can_be_forced_and_must_exist(write):
    with pytest.raises(BadRecords, match="'subject' must be a text"):
        read_edits(write({"prompt": "x", "target_new": "y"}), "counterfact")
    with pytest.raises(BadInput, match="there are edits, counterfact, knowedit, zsre"):
        read_edits(write(OURS), "csv")


def test_a_missing_file_is_no_traceback(tmp_path):
    with pytest.raises(BadRecords, match="is not a file"):
        read_edits(tmp_path / "nowhere.jsonl")


def flat(number, subject, neighbour, old="oboe", template="{} plays the"):
    asked = {"prompt": template.format(subject), "subject": subject, "ground_truth": old}
    return {**FLAT, **asked, "case_id": number, "locality_prompt": f"{neighbour} plays the"}


def test_neighbours_are_pooled_within_one_relation_and_old_answer(write):
    rows = read_edits(write(
        flat(1, "Ada Quill", "Tam Orrel"), flat(2, "Ode Brand", "Ada Quill"), flat(3, "Pax Uld", "Tam Orrel"),
        flat(4, "Bo Reed", "Ivo Lenn"), flat(5, "Una Marr", "Eli Voss", old="harp"),
        flat(6, "Ana Holt", "Kit Dorn", template="{} owns an"),
    ))  # fmt: skip
    pooled = [[question["prompt"].split()[0] for question in row["neighbours"]] for row in neighbours_by_pooling(rows)]
    assert pooled == [["Tam", "Ivo"], ["Ada", "Tam", "Ivo"], ["Tam", "Ada", "Ivo"], ["Ivo", "Tam", "Ada"],
                      ["Eli"], ["Kit"]]  # fmt: skip
    assert [len(row["neighbours"]) for row in neighbours_by_pooling(rows, at_most=2)] == [2, 2, 2, 2, 1, 1]
    assert len(rows[0]["neighbours"]) == 1  # the rows that were given stay as they were


PUBLIC = {
    "counterfact-val.json": (1919, {"neighbours": 1919, "rephrases": 1919, "portability": 0}),
    "counterfact-train.json": (10_000, {"neighbours": 10_000, "rephrases": 10_000, "portability": 0}),
    "knowedit_wiki_counterfact_test_cf.json": (839, {"neighbours": 0, "rephrases": 839, "portability": 10_799}),
    "knowedit_zsre_test_seq.json": (1068, {"neighbours": 0, "rephrases": 1068, "portability": 3204}),
}


@pytest.fixture
def public(data):
    """Return a file of the public editing sets, or say that they are not here."""

    def found(name):
        path = data / "editing" / name
        if not path.exists():
            pytest.skip(f"needs editing/{name} in the directory of public evaluation sets")
        return path

    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_public_files_are_read_whole_as_they_are(public, name):
    rows = read_edits(public(name))
    count, lists = PUBLIC[name]
    assert len(rows) == count
    assert {field: sum(len(row[field]) for row in rows) for field in lists} == lists
    assert {Fact.from_row(row).verb for row in rows} == {Verb.MODIFY}


def test_pooling_gives_a_public_file_as_many_neighbours_as_counting_does(public):
    raw = json.loads(public("counterfact-val.json").read_text())
    prompts = defaultdict(set)
    for row in raw:
        prompts[row["prompt"].replace(row["subject"], "{}"), row["ground_truth"]].add(row["locality_prompt"])
    expected = Counter()
    for row in raw:
        pool = prompts[row["prompt"].replace(row["subject"], "{}"), row["ground_truth"]]
        others = {prompt for prompt in pool if row["subject"] not in prompt} | {row["locality_prompt"]}
        expected[min(5, len(others))] += 1
    assert (
        Counter(len(row["neighbours"]) for row in neighbours_by_pooling(read_edits(public("counterfact-val.json"))))
        == expected
    )
