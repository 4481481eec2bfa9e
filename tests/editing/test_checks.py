"""Edits are checked alone, against each other and against earlier ones, and named by their ids."""

from __future__ import annotations

import time

import pytest

from amends_editing.checks import check
from amends_editing.remarks import NAMED, Kind


def edit(id, subject, relation, target, verb="modify", old=""):
    prompt = relation.format(subject)
    return {"id": id, "verb": verb, "subject": subject, "prompt": prompt, "target": target, "old": old}


SPOUSE, MOTHER, HOME = "The spouse of {} is", "The mother of {} is", "{} lives in"


def kinds(remarks):
    return [(str(remark.kind), remark.ids) for remark in remarks]


def test_sound_edits_have_no_remarks():
    rows = [edit("a", "Ada Quill", HOME, "Brenn"), edit("b", "Tam Orrel", HOME, "", "erase", "Sorrel")]
    found = check(rows)
    assert (found.edits, found.errors, found.warnings, found.contradictions) == (2, (), (), ())
    assert found.refused == frozenset()


ALONE = {
    "another spelling": (edit("a", "ada quill", "Ada Quill lives in", "Brenn"), Kind.SUBJECT),
    "no subject": (edit("a", "", "Ada Quill lives in", "Brenn"), Kind.SUBJECT),
    "no answer": (edit("a", "Ada Quill", HOME, " "), Kind.ANSWER),
    "an erasure with an answer": (edit("a", "Ada Quill", HOME, "Brenn", "erase"), Kind.ANSWER),
    "the old answer": (edit("a", "Ada Quill", HOME, "brenn ", old="Brenn"), Kind.UNCHANGED),
}


@pytest.mark.parametrize("mistake", ALONE)
def test_an_edit_that_cannot_work_is_refused(mistake):
    row, kind = ALONE[mistake]
    found = check([edit("b", "Tam Orrel", HOME, "Sorrel"), row])
    assert kinds(found.errors) == [(str(kind), ("a",))]
    assert found.refused == {"a"}


def test_two_answers_to_one_prompt_refuse_each_other():
    rows = [edit("a", "Ada Quill", HOME, "Brenn"), edit("b", "ADA  Quill", HOME, "Sorrel"),
            edit("c", "Ada Quill", HOME, "", "erase"), edit("d", "Ada Quill", MOTHER, "Una")]  # fmt: skip
    found = check(rows)
    assert kinds(found.errors) == [("conflict", ("a", "b", "c"))] and not found.warnings


def test_one_answer_asked_for_twice_is_a_warning():
    found = check([edit("a", "Ada Quill", HOME, "Brenn"), edit("b", "Ada Quill", HOME, " brenn")])
    assert not found.errors and kinds(found.warnings) == [("duplicate", ("a", "b"))]


def test_edits_that_answer_with_each_other_are_shown_once():
    found = check([edit("a", "Ada Quill", SPOUSE, "Tam Orrel"), edit("b", "Tam Orrel", SPOUSE, "Ada Quill")])
    assert kinds(found.warnings) == [("reverse", ("a", "b"))]
    assert "one way only" in found.warnings[0].sentence


def test_an_answer_that_is_asked_the_same_and_answers_otherwise_is_shown():
    found = check([edit("a", "Ada Quill", SPOUSE, "Tam Orrel"), edit("b", "Tam Orrel", SPOUSE, "Una Marr")])
    assert kinds(found.warnings) == [("reverse", ("a", "b"))]
    assert "both ways" in found.warnings[0].sentence


def test_an_answer_that_another_edit_is_about_changes_what_follows_from_both():
    rows = [edit("a", "Ada Quill", SPOUSE, "Tam Orrel"), edit("b", "Ode Brand", SPOUSE, "tam orrel"),
            edit("c", "Tam Orrel", HOME, "Brenn"), edit("d", "Una Marr", HOME, "Sorrel")]  # fmt: skip
    found = check(rows)
    assert not found.errors and kinds(found.warnings) == [("composite", ("a", "b", "c"))]


def test_an_edit_that_answers_with_its_own_subject_is_no_pair():
    assert not check([edit("a", "Brenn", "{} lies in", "Brenn")]).warnings


def test_edits_against_the_version_s_own_are_for_the_policy_to_decide():
    earlier = [edit("old-1", "Ada Quill", HOME, "Brenn"), edit("old-2", "Ada Quill", HOME, "Sorrel"),
               {**edit("f00d", "Una Marr", HOME, "Tarn"), "label": "old-3"}]  # fmt: skip
    rows = [edit("a", "ada quill", "{} lives in", "Sorrel"), edit("b", "Una Marr", HOME, "", "erase")]
    found = check(rows, earlier)
    assert kinds(found.contradictions) == [("contradiction", ("b",))]
    assert found.contradictions[0].earlier == ("old-3",)  # a registered row keeps its own id as its label
    assert kinds(found.warnings) == [("repeated", ("a",))] and found.warnings[0].earlier == ("old-2",)
    assert not found.refused


def test_a_sentence_names_edits_and_never_what_they_say():
    rows = [edit(f"e{n}", "Ada Quill", HOME, f"Brenn {n}") for n in range(40)]
    rows += [edit("x", "Tam Orrel", "Who?", "Una"), edit("y", "Una", HOME, "Ada Quill")]
    found = check(rows, [edit("old", "Una", HOME, "Tarn")])
    said = " ".join(remark.sentence for remark in (*found.errors, *found.warnings, *found.contradictions))
    assert f"and {40 - NAMED} more ask for different answers" in said
    assert not any(word in said for word in ("Ada", "Quill", "Tam", "Una", "Brenn", "Tarn", "Who"))


def test_a_thousand_edits_that_all_meet_take_no_longer_than_they_must():
    meeting = [edit(str(n), f"S{n % 40}", HOME, f"S{(n * 7) % 40}") for n in range(1000)]
    apart = [edit(str(n), f"S{n}", HOME, f"T{n}") for n in range(1000)]

    def seconds(rows):
        start = time.process_time()
        check(rows, rows)
        return time.process_time() - start

    assert min(seconds(meeting) for _ in range(3)) < 10 * min(seconds(apart) for _ in range(3))
