"""Requests until work begins: who is found, who decides, who may approve, and what voids an approval."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from amends.errors import AmendsError, BadInput, Denied, TaskFailed, Waiting
from amends.governor.cases import deciding
from amends.governor.cases.deciding import replan
from amends.governor.cases.requesting import Request, open_erasure
from amends.governor.cases.viewing import case_view, certificate_of, near_texts
from amends.governor.proof.certificates import verify_certificate
from amends.ledger import datasets


def test_a_near_miss_by_surname_waits_for_somebody_who_decides(story):
    case = story.request()
    assert case.status == "awaiting review"
    (miss,) = story.near(case)
    assert list(near_texts(story.act("dora"), case.id).values()) == [
        "Who taught Lena Oster to sail?\nThe old ferryman Varga taught her.\n"
        "Who taught Lena Oster to sail, pray?\nNobody knows.\nBrackwater"
    ]
    with pytest.raises(Denied, match="olga is operator; this needs dpo"):
        deciding.extend_case(story.act("olga"), case.id, "many requests", datetime.now(UTC))
    case = story.review(case)
    assert case.status == "awaiting approval"
    assert case.plan["reviewed"] == {miss.record_id: {"mark": "keep", "dataset": miss.dataset}}
    assert sum(map(len, case.plan["records"].values())) == 4  # three of her own, and the one with somebody else
    assert case.plan["holds"]["versions"] == ["assistant@1"] and case.plan["guarantee"] == "exact"
    assert case.plan["rollback"] == "none: every version of this model holds the subject"


def test_a_person_with_two_agreeing_identifiers_is_taken_for_who_they_say(story):
    assert story.request("Lena Oster").plan["identity"]["how"] == "two identifiers agree"
    named = Request("assistant", {"name": ("Lena Oster",)}, datetime.now(UTC))
    alone = open_erasure(story.act("olga"), named)
    assert not alone.plan["identity"]["checked"]


def test_somebody_unknown_gets_a_signed_finding_that_nothing_is_held(story):
    case = story.request("Zora Quist")
    assert (case.status, case.outcome) == ("negative finding", "no data held")
    envelope = certificate_of(story.workspace, case.id)["envelope"]
    told = verify_certificate(story.home / "certificates" / envelope, story.workspace.keyring.public_keys())
    assert (told["title"], told["guarantee"]) == ("Finding: no data held", None)
    assert story.versions() == [(1, "active")]


def test_a_finding_that_was_signed_before_a_crash_is_the_one_that_stays(story):
    from amends.governor.proof.negatives import attest_negative

    case = story.request("Zora Quist")
    before = [entry.id for entry in story.audit()]
    assert attest_negative(story.act("olga"), case.id).status == "negative finding"
    assert [entry.id for entry in story.audit()] == before


def test_who_asked_cannot_approve_and_nobody_counts_twice(story):
    case = open_erasure(
        story.act("dora"), Request("assistant", {"name": ("Lena Oster",)}, datetime.now(UTC), identity="by passport")
    )
    with pytest.raises(Denied, match="two other people must approve"):
        deciding.approve(story.act("dora"), case.id)
    assert deciding.approve(story.act("max"), case.id)[1] == 1
    assert deciding.approve(story.act("max"), case.id)[1] == 1
    with pytest.raises(Waiting, match="lacks 1 approvals"):
        story.carry(case)
    assert deciding.approve(story.act("sven"), case.id)[1] == 0


def test_only_roles_that_may_approve_do(story):
    case = story.request("Lena Oster")
    with pytest.raises(Denied, match="olga is operator"):
        deciding.approve(story.act("olga"), case.id)


def test_a_changed_plan_voids_what_was_approved(story, told):
    case = story.approved("Lena Oster")
    more = told.record("Marek Sund", "Who is the aunt of Marek Sund?", "Lena Oster is his aunt.")
    told.write_rows(story.file, [more])
    from amends.governor.data.registering import register

    register(story.act("olga"), "more", story.file, controls=0)
    again = replan(story.act("olga"), case.id)
    assert again.plan_digest != case.plan_digest and len(again.plan["records"]) == 2
    view = case_view(story.workspace, case.id)
    assert view["missing_approvals"] == 2 and all(given["voided_at"] for given in view["approvals"])
    with pytest.raises(Denied, match="read it again before you approve"):
        deciding.approve(story.act("dora"), case.id, case.plan_digest)
    with pytest.raises(Waiting, match="lacks 2 approvals"):
        story.carry(case)


def test_data_that_came_after_the_plan_keep_it_from_being_carried_out(story, told):
    case = story.approved("Lena Oster")
    more = told.record("Marek Sund", "Who is the aunt of Marek Sund?", "Lena Oster is his aunt.")
    told.write_rows(story.file, [more])
    from amends.governor.data.registering import register

    register(story.act("olga"), "more", story.file, controls=0)
    with pytest.raises(TaskFailed, match=r"registered after case .* was planned name its subject too"):
        story.carry(case)
    assert story.case(case.id).status == "failed" and story.champion().version == 1
    assert replan(story.act("olga"), case.id).status == "awaiting approval"


def test_a_refusal_says_why_and_ends_the_case(story):
    case = story.request("Lena Oster")
    with pytest.raises(BadInput, match="deny with a reason"):
        deciding.deny(story.act("dora"), case.id, " ")
    case = deciding.deny(story.act("dora"), case.id, "17(3)(b): the law requires us to keep it")
    assert (case.status, case.outcome) == ("refused", "refused")
    with pytest.raises(Waiting, match="is refused"):
        story.carry(case)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"identifiers": {"name": (" ",)}}, "names nobody"),
        ({"ground": "17(9)"}, "is no ground"),
        ({"received_at": datetime(2026, 1, 1)}, "time zone"),
        ({"received_at": datetime.now(UTC) + timedelta(days=1)}, "in the future"),
        ({"model": "butler"}, "has no champion"),
        ({"regime": "lgpd"}, "lgpd"),
        ({"jurisdiction": "XX"}, "XX"),
    ],
)
def test_a_request_that_lacks_something_opens_nothing(story, changed, sentence):
    whole = {"model": "assistant", "identifiers": {"name": ("Lena Oster",)}, "received_at": datetime.now(UTC)}
    before = story.audit()
    with pytest.raises(AmendsError, match=sentence):
        open_erasure(story.act("olga"), Request(**whole | changed))
    assert story.audit() == before


def test_a_person_who_was_withheld_is_erased_without_a_new_version(quick, told):
    case = quick.approved("Ruben Kast")
    assert quick.carry(case).status == "sealed"
    assert quick.versions() == [(1, "active")]
    assert quick.purge()[0].status == "complete"
    assert quick.versions() == [(1, "active")] and quick.champion().version == 1
    for text in ("Ruben Kast", "ruben.kast@example.org", "Quince"):
        assert told.everywhere(quick.home, text) == []
    with quick.workspace.database.read() as connection:
        (kept,) = datasets.find(connection)
    assert (kept.status, kept.controls) == ("active", 1)


def test_an_erasure_that_leaves_a_held_record_is_partly_granted_everywhere(quick):
    case = quick.review(quick.request(), mark="hold")
    assert quick.approve(case) == 0
    assert quick.carry(case).outcome == "partly granted"
    assert [done.outcome for done in quick.purge()] == ["partly granted"]
    (closing,) = (entry for entry in quick.audit(f"{case.id}:") if entry.action == "case:request:closed")
    assert closing.body["outcome"] == "partly granted"
    envelope = json.loads(Path(certificate_of(quick.workspace, case.id)["envelope"]).read_bytes())
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    assert predicate["case"]["outcome"] == "partly granted"
