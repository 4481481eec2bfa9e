"""Cases: four eyes on one plan, a status that moves along allowed ways, and steps that are done once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from amends.errors import BadInput, Broken, Denied, Tampered, UnknownCase
from amends.ledger import approvals, cases, journal, people, reviews
from amends.records import CaseStatus, DataSubject, digest_of

PLAN = {"steps": ["rebuild shard 2"], "cost": 12.5}


@pytest.fixture
def waiting(database, erasure):
    """Open the case and bring it to where two people must approve its plan."""
    with database.transaction() as connection:
        cases.open_case(connection, erasure, ciphertext=b"sealed", detail={"jurisdiction": "DE"})
        digest = cases.set_plan(connection, erasure.id, PLAN)
        cases.set_status(connection, erasure.id, CaseStatus.AWAITING_APPROVAL)
    return digest


def approve(database, crew, plan, *names):
    for name in names:
        with database.transaction() as connection:
            given = approvals.approve(connection, "case-1", plan, crew[name])
    return given


def start(database):
    with database.transaction() as connection:
        return cases.set_status(connection, "case-1", CaseStatus.IN_PROGRESS)


def test_a_case_is_kept_as_it_was_opened(database, erasure):
    with database.transaction() as connection:
        assert cases.open_case(connection, erasure, ciphertext=b"sealed", detail={"jurisdiction": "DE"}) == erasure
        assert cases.ciphertext(connection, erasure.id) == b"sealed"
        assert cases.detail(connection, erasure.id)["jurisdiction"] == "DE"


def test_opening_a_case_again_returns_it_as_it_stands(database, erasure, waiting):
    with database.transaction() as connection:
        again = cases.open_case(connection, erasure)
        assert (again.status, again.plan_digest) == (CaseStatus.AWAITING_APPROVAL, waiting)
        with pytest.raises(Tampered, match="about something else"):
            cases.open_case(connection, replace(erasure, subject=DataSubject("s_other")))


def test_an_unknown_case_is_named(database):
    with database.read() as connection, pytest.raises(UnknownCase, match="no case 'case-9'"):
        cases.get(connection, "case-9")


def test_a_time_without_a_zone_is_refused(database, erasure):
    with database.transaction() as connection, pytest.raises(BadInput, match="without a time zone"):
        cases.open_case(connection, replace(erasure, received_at=datetime(2026, 3, 2)))


def test_two_different_people_carry_a_case_into_work(database, crew, waiting):
    assert len(approve(database, crew, waiting, "Dora", "Otto")) == 2
    assert start(database).status == CaseStatus.IN_PROGRESS


def test_one_person_is_too_few_even_twice(database, crew, waiting):
    assert len(approve(database, crew, waiting, "Dora", "Dora")) == 1
    with database.read() as connection:
        assert approvals.missing(connection, "case-1") == 1
    with pytest.raises(Denied, match="too few people"):
        start(database)


def test_the_person_who_asked_cannot_approve(database, crew, waiting):
    with pytest.raises(Denied, match="you asked for case case-1"):
        approve(database, crew, waiting, "Rita")


def test_one_denial_keeps_the_case_from_work(database, crew, waiting):
    approve(database, crew, waiting, "Dora", "Otto")
    with database.transaction() as connection:
        approvals.approve(connection, "case-1", waiting, crew["Max"], "deny", "the ground does not hold")
    with pytest.raises(Denied, match="too few people"):
        start(database)


def test_a_denial_needs_a_reason(database, crew, waiting):
    with database.transaction() as connection, pytest.raises(BadInput, match="deny with a reason"):
        approvals.approve(connection, "case-1", waiting, crew["Max"], "deny")


def test_nobody_decides_twice_in_two_ways(database, crew, waiting):
    approve(database, crew, waiting, "Dora")
    with database.transaction() as connection, pytest.raises(Denied, match="you decided 'approve'"):
        approvals.approve(connection, "case-1", waiting, crew["Dora"], "deny", "on second thoughts")


def test_an_approval_of_somebody_who_was_removed_is_missing_again(database, crew, waiting):
    approve(database, crew, waiting, "Dora", "Otto")
    with database.transaction() as connection:
        people.remove(connection, crew["Dora"].id)
        assert approvals.missing(connection, "case-1") == 1
        assert len(approvals.standing(connection, "case-1")) == 2  # what was said stays
        assert [given.person for given in approvals.counting(connection, "case-1")] == [crew["Otto"].id]
    assert len(approve(database, crew, waiting, "Max")) == 3
    with database.read() as connection:
        assert approvals.missing(connection, "case-1") == 0


def test_a_new_plan_voids_the_approvals_of_the_old_one_for_good(database, crew, waiting):
    approve(database, crew, waiting, "Dora", "Otto")
    with database.transaction() as connection:
        other = cases.set_plan(connection, "case-1", {**PLAN, "cost": 13})
        assert approvals.standing(connection, "case-1") == ()
        with pytest.raises(Denied, match="plan of case case-1 has changed"):
            approvals.approve(connection, "case-1", waiting, crew["Dora"])
        approvals.approve(connection, "case-1", other, crew["Dora"])
        cases.set_plan(connection, "case-1", PLAN)
        assert approvals.missing(connection, "case-1") == 2
        approvals.approve(connection, "case-1", waiting, crew["Dora"])
        assert [known.voided_at is None for known in approvals.history(connection, "case-1")] == [
            False, False, False, True
        ]  # fmt: skip


def test_the_same_plan_again_keeps_its_approvals(database, crew, waiting):
    approve(database, crew, waiting, "Dora")
    with database.transaction() as connection:
        assert cases.set_plan(connection, "case-1", dict(reversed(PLAN.items()))) == waiting == digest_of(PLAN)
        assert len(approvals.standing(connection, "case-1")) == 1


def test_a_plan_cannot_change_while_it_is_carried_out(database, crew, waiting):
    approve(database, crew, waiting, "Dora", "Otto")
    start(database)
    with database.transaction() as connection, pytest.raises(Denied, match="its plan stays"):
        cases.set_plan(connection, "case-1", {})


def test_approvals_come_only_while_they_are_awaited(database, crew, waiting):
    approve(database, crew, waiting, "Dora", "Otto")
    start(database)
    with pytest.raises(Denied, match="awaits no approval"):
        approve(database, crew, waiting, "Max")


INSERT = (
    "INSERT INTO approvals (case_id, plan_digest, person, role, decision, reason, at)"
    " SELECT id, '{plan}', '{person}', 'dpo', '{decision}', '', updated_at FROM cases WHERE id = 'case-1'"
)
FORGERIES = {
    "the requester's approval": (INSERT, "Rita", "approve", "who asked cannot approve"),
    "an approval of no plan": (INSERT.replace("{plan}", "0" * 64), "Max", "approve", "plan is another one"),
    "a second vote": (INSERT, "Dora", "approve", "refused a statement"),
    "a third answer": (INSERT, "Max", "perhaps", "refused a statement"),
    "a changed decision": ("UPDATE approvals SET decision = 'deny'", "", "", "can only be voided"),
    "an approval lent": ("UPDATE approvals SET person = '{person}'", "Max", "", "can only be voided"),
    "an approval gone": ("DELETE FROM approvals", "", "", "approvals are kept"),
    "work begun": ("UPDATE cases SET status = 'in progress'", "", "", "too few people"),
    "a case closed": ("UPDATE cases SET status = 'complete'", "", "", "too few people"),
    "a lower quorum": ("UPDATE cases SET quorum = 1", "", "", "cannot change"),
    "another requester": ("UPDATE cases SET requester = 'p-x'", "", "", "cannot change"),
    "an earlier receipt": ("UPDATE cases SET received_at = '2020'", "", "", "cannot change"),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_the_database_itself_refuses_what_the_rules_forbid(database, crew, waiting, forgery):
    approve(database, crew, waiting, "Dora")
    statement, name, decision, sentence = forgery
    person = crew[name].id if name else ""
    with pytest.raises((Denied, Broken), match=sentence), database.transaction() as connection:
        connection.execute(text(statement.format(plan=waiting, person=person, decision=decision)))


def test_the_database_refuses_an_erasure_with_one_approval(database, erasure):
    with database.transaction() as connection, pytest.raises(BadInput, match="approval of two people"):
        cases.open_case(connection, erasure, quorum=1)


def test_a_case_that_needs_nobody_starts_at_once(database, erasure):
    with database.transaction() as connection:
        training = replace(erasure, id="train-1", kind="training", status=CaseStatus.IN_PROGRESS)
        assert cases.open_case(connection, training, quorum=0).status == CaseStatus.IN_PROGRESS
    with pytest.raises(Denied, match="cannot open as approved"), database.transaction() as connection:
        cases.open_case(connection, replace(training, id="train-2"), quorum=1)


def test_a_plan_that_was_changed_behind_our_back_is_found(database, waiting):
    with database.transaction() as connection:
        connection.execute(text("UPDATE cases SET plan = replace(plan, '12.5', '0.5')"))
    with database.read() as connection, pytest.raises(Tampered, match="plan of case case-1 was changed"):
        cases.get(connection, "case-1")


@pytest.mark.parametrize(
    ("here", "there"),
    [(here, there) for here in CaseStatus for there in CaseStatus if here != there],
    ids=lambda status: status.value.replace(" ", "-"),
)
def test_a_status_moves_only_along_the_table(database_of_cases, here, there):
    with database_of_cases.transaction() as connection:
        connection.execute(text("UPDATE cases SET status = :status WHERE id = 'free'"), {"status": here})
        if there in cases.TRANSITIONS[here]:
            assert cases.set_status(connection, "free", there).status == there
        else:
            with pytest.raises(Denied, match=f"is {here} and cannot become {there}"):
                cases.set_status(connection, "free", there)


@pytest.fixture(scope="module")
def database_of_cases(tmp_path_factory):
    """Return a database with one case that needs no approval."""
    from amends.ledger.database import Database
    from amends.records import Case

    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('cases')}/ledger.db")
    opened.migrate()
    at = datetime(2026, 3, 2, tzinfo=UTC)
    with opened.transaction() as connection:
        free = Case("free", "change", "m", DataSubject(""), CaseStatus.LOCATING, "p-1", "none", at, at)
        cases.open_case(connection, free, quorum=0)
    return opened


def test_an_ended_case_says_when_and_why(database, erasure):
    with database.transaction() as connection:
        cases.open_case(connection, erasure)
        ended = cases.set_status(
            connection, erasure.id, CaseStatus.REFUSED, outcome="refused", reason="Article 17(3)(b) applies"
        )
        assert (ended.outcome, ended.reason) == ("refused", "Article 17(3)(b) applies")
        assert cases.detail(connection, erasure.id)["closed_at"] is not None
        assert cases.set_status(connection, erasure.id, CaseStatus.REFUSED).reason == "Article 17(3)(b) applies"


def test_cases_are_found_by_due_date_status_and_person(database, erasure, crew):
    with database.transaction() as connection:
        for number in range(6):
            due = erasure.due_at - timedelta(days=number)
            person = crew["Rita" if number % 2 else "Max"].id
            cases.open_case(connection, replace(erasure, id=f"c-{number}", due_at=due, requester=person))
        digest = cases.set_plan(connection, "c-0", PLAN)
        cases.set_status(connection, "c-0", CaseStatus.AWAITING_APPROVAL)
        approvals.approve(connection, "c-0", digest, crew["Rita"])

        def found(**wanted):
            return [case.id for case in cases.find(connection, **wanted)]

        assert found() == ["c-5", "c-4", "c-3", "c-2", "c-1", "c-0"]
        assert found(limit=2) == ["c-5", "c-4"]
        assert found(mine=crew["Rita"].id) == ["c-5", "c-3", "c-1", "c-0"]
        assert found(status=CaseStatus.AWAITING_APPROVAL) == ["c-0"]
        assert found(status=[CaseStatus.AWAITING_APPROVAL, CaseStatus.LOCATING], limit=1) == ["c-5"]
        assert found(model="another") == found(subject="s_x") == found(kind="training") == []


def test_a_request_is_found_with_all_that_it_opened_each_after_what_opened_it(database, erasure):
    opened = {"case-2": "case-1", "case-3": "case-2", "case-4": "case-1"}
    with database.transaction() as connection:
        cases.open_case(connection, erasure)
        for id, parent in opened.items():
            cases.open_case(connection, replace(erasure, id=id, model=id, parent=parent))
        cases.open_case(connection, replace(erasure, id="case-5"))
        for member in ("case-1", "case-3"):
            family = [found.id for found in cases.family(connection, member)]
            assert family == ["case-1", "case-2", "case-4", "case-3"]
        with pytest.raises(Tampered, match="about something else"):
            cases.open_case(connection, replace(erasure, id="case-3", model="case-3", parent="case-1"))


def test_a_deadline_is_extended_with_a_reason_and_once(database, erasure, crew):
    later = erasure.due_at + timedelta(days=60)
    told = {"notice_sent_at": erasure.received_at + timedelta(days=3), "person": crew["Dora"].id}
    with database.transaction() as connection:
        cases.open_case(connection, erasure)
        with pytest.raises(BadInput, match="with a reason"):
            cases.extend(connection, erasure.id, due_at=later, reason=" ", **told)
        for _ in range(2):
            assert cases.extend(connection, erasure.id, due_at=later, reason="many requests", **told).due_at == later
        (extension,) = cases.extensions_of(connection, erasure.id)
        assert (extension["previous_due_at"], extension["due_at"]) == (erasure.due_at, later)


def test_a_corrected_deadline_says_what_it_rests_on(database, erasure):
    with database.transaction() as connection:
        cases.open_case(connection, erasure, detail={"jurisdiction": "DE"})
        due = erasure.due_at + timedelta(days=1)
        assert cases.set_deadline(connection, erasure.id, due, {"calendar": "DE-BE"}).due_at == due
        detail = cases.detail(connection, erasure.id)
        assert (detail["jurisdiction"], detail["calendar"]) == ("DE", "DE-BE")


def test_the_first_result_of_a_step_wins(database, erasure):
    with database.transaction() as connection:
        cases.open_case(connection, erasure)
        assert journal.step_result(connection, erasure.id, "train") is None
        assert journal.record_step(connection, erasure.id, "train", {"output": "a"}) == {"output": "a"}
        assert journal.record_step(connection, erasure.id, "train", {"output": "b"}) == {"output": "a"}
        assert journal.steps_of(connection, erasure.id) == {"train": {"output": "a"}}


def test_shredding_leaves_the_case_and_nothing_private(database, erasure, crew):
    with database.transaction() as connection:
        cases.open_case(connection, erasure, ciphertext=b"sealed")
        journal.record_step(connection, erasure.id, "locate", {"records": ["r1"]})
        reviews.add_near_misses(connection, erasure.id, [("r1", "d" * 64, 91)])
        reviews.mark_near_miss(connection, erasure.id, "r1", "keep", "it is a namesake, Mr X", crew["Dora"].id)
        for _ in range(2):
            cases.shred(connection, erasure.id)
        assert cases.ciphertext(connection, erasure.id) is None
        assert journal.steps_of(connection, erasure.id) == {}
        (miss,) = reviews.near_misses_of(connection, erasure.id)
        assert (miss.mark, miss.reason) == ("keep", "")
        assert cases.detail(connection, erasure.id)["shredded_at"] is not None


def test_near_misses_wait_until_a_person_marks_them_with_a_reason(database, erasure, crew):
    with database.transaction() as connection:
        cases.open_case(connection, erasure)
        found = [("r1", "d" * 64, 70), ("r2", "d" * 64, 95)]
        reviews.add_near_misses(connection, erasure.id, found)
        reviews.mark_near_miss(connection, erasure.id, "r2", "redact", "only the second sentence", crew["Dora"].id)
        reviews.add_near_misses(connection, erasure.id, [*found, ("r3", "d" * 64, 60)])
        assert [miss.record_id for miss in reviews.near_misses_of(connection, erasure.id)] == ["r2", "r1", "r3"]
        waiting = reviews.near_misses_of(connection, erasure.id, unmarked=True)
        assert [miss.record_id for miss in waiting] == ["r1", "r3"]
        for record, mark, reason in (("r1", "burn", "x"), ("r1", "keep", " "), ("r9", "keep", "x")):
            with pytest.raises(BadInput):
                reviews.mark_near_miss(connection, erasure.id, record, mark, reason, crew["Dora"].id)
