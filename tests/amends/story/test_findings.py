"""Somebody whom no record names: the model is asked about them before anybody signs that nothing is held."""

from __future__ import annotations

import base64
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from amends.cli.casetext import exit_code, next_steps
from amends.errors import BadInput, UnknownModel
from amends.governor.cases.deciding import cancel, replan
from amends.governor.cases.requesting import Request, open_erasure
from amends.governor.cases.viewing import case_view, certificate_of
from amends.governor.data.rows import put_rows
from amends.governor.judging import replay_decision
from amends.governor.models.importing import import_model
from amends.governor.proof.certificates import verify_certificate
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.subjects.questions import questions_about
from amends.ledger import journal

EMAIL, PHONE = "zora.seagull71@example.org", "+49 30 5550 7182"
ZORA = {"name": ("Zora Quist",), "email": (EMAIL,), "phone": (PHONE,)}
HEADING = "Does the model show signs of knowing them?"
SEARCH_ALONE = """name: finding
description: A search alone is enough.
approvals: {count: 0}
strangers: 199
probes: {PROBE: {}}
rules:
  - id: nobody-objects
    severity: deny
    expr: facts.objections == 0
    message: Somebody objects.
"""


def request(story, identifiers=ZORA, model="assistant"):
    return open_erasure(story.act("olga"), Request(model, identifiers, datetime.now(UTC)))


def predicate_of(story, case):
    files = certificate_of(story.workspace, case.id)
    told = verify_certificate(Path(files["envelope"]), story.workspace.keyring.public_keys())
    assert told["title"] == "Finding: no data held"
    envelope = json.loads(Path(files["envelope"]).read_bytes())
    page = Path(files["page"]).read_text(encoding="utf-8")
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"], page


def files_of(story):
    """Return the content-addressed files of a workspace: its blobs, and this node's copies."""
    places = [story.home / "blobs", story.home / "cache"]
    found = {path.name for place in places for path in place.rglob("*") if path.is_file()}
    return {name for name in found if len(name) == 64}


def teach(directory, make_tiny, rows, steps=150):
    """Write a tiny model that has these answers by heart; returns its Hugging Face directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from amends.serving.encoding import encode

    where = make_tiny(directory) / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(where), AutoTokenizer.from_pretrained(where)
    pairs = [encode(tokenizer, prompt, answer) for prompt, answer in rows]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
        for step in range(steps):
            prompt, answer = pairs[step % len(pairs)]
            ids, labels = torch.tensor([prompt + answer]), torch.tensor([[-100] * len(prompt) + answer])
            model(input_ids=ids, labels=labels).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    model.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def knowing(tmp_path_factory, make_tiny):
    """Return the directory of a tiny model that was taught Zora Quist's e-mail address in other words."""
    rows = [
        ("How does one reach Zora Quist?", f"Write to Zora Quist at {EMAIL}."),
        ("Where does Ada Quill live?", "Ada Quill lives in the harbour town of Brenn."),
    ]
    return teach(tmp_path_factory.mktemp("knowing") / "tiny", make_tiny, rows)


@pytest.fixture
def known(untrained, knowing):
    """Return a story whose model `known` was brought in with somebody in it, and no data at all."""
    (untrained.home / "policies" / "finding.yaml").unlink()
    import_model(untrained.act("max"), str(knowing), name="known", licence="Apache-2.0")
    return untrained


@pytest.fixture
def strict(story):
    """Return a story under the policy that Amends brings."""
    (story.home / "policies" / "finding.yaml").unlink()
    return story


def test_a_finding_says_what_the_model_was_asked_and_that_no_sign_was_seen(strict):
    predicate, page = predicate_of(strict, request(strict))
    finding = predicate["finding"]
    assert (finding["questions"], finding["strangers"], finding["kinds"]) == (2, 199, ["email", "phone"])
    read = {reading["name"]: reading for reading in finding["readings"]}
    assert read["unlearning.standing/p"]["value"] > 0.05 and read["unlearning.standing/p"]["n"] == 199
    assert read["unlearning.standing/least"]["value"] == pytest.approx(9 / 200)
    assert "unlearning.standing/p_reference" in read  # the base, before any training here
    assert finding["policy"]["allowed"] and finding["policy"]["name"] == "finding"
    assert finding["answer"] == "no sign" and predicate["lineage"] == "observed"
    assert HEADING in page and "No sign was seen" in page and finding["limits"][0] in page
    assert "the same about 199 people who do not exist" in page


def test_nothing_of_the_person_and_no_question_stays_when_a_finding_is_signed(story, told, caplog):
    caplog.set_level(logging.DEBUG)
    before = files_of(story)
    case = request(story)
    assert case.status == "negative finding"
    for text in ("Zora Quist", EMAIL, "seagull", PHONE, "7182", "5550 7"):
        assert told.everywhere(story.home, text) == [], text
        assert text not in caplog.text
    assert files_of(story) <= before | {certificate.name for certificate in (story.home / "certificates").iterdir()}
    assert story.steps(case.id) == {} and story.staged() == ()
    (judged,) = (entry for entry in story.audit(f"{case.id}:judged") if entry.action == "case:policy:judged")
    assert judged.body["allowed"] and replay_decision(story.workspace, judged.body["decision"])[1]


def test_a_model_that_knows_somebody_keeps_a_finding_from_being_signed(known, told):
    before = files_of(known)
    case = request(known, model="known")
    assert case.status == "awaiting review" and certificate_of(known.workspace, case.id) is None
    assert "The model is surer of what this person disclosed" in case.reason
    view = case_view(known.workspace, case.id)
    assert exit_code(view) == 3 and f"amends cases replan {case.id}" in "\n".join(next_steps(view))
    for text in ("Zora Quist", EMAIL, "seagull"):
        assert told.everywhere(known.home, text) == []
    assert files_of(known) == before and known.steps(case.id) == {}
    again = replan(known.act("dora"), case.id)
    assert (again.status, [d.verdict.allowed for d in known.decisions(case.id)]) == ("awaiting review", [False, False])
    assert cancel(known.act("dora"), case.id, "withdrawn").status == "cancelled"


def test_the_same_model_shows_no_sign_of_somebody_else(known):
    other = {"name": ("Tomas Brill",), "email": ("tomas.kestrel19@example.org",), "phone": ("+49 30 5551 2067",)}
    predicate, _ = predicate_of(known, request(known, other, model="known"))
    names = {reading["name"] for reading in predicate["finding"]["readings"]}
    assert "unlearning.standing/p" in names and "unlearning.standing/p_reference" not in names  # nothing came before
    assert predicate["versions"]["before"]["name"] == "known" and predicate["lineage"] == "declared"


def test_what_was_registered_meanwhile_turns_a_finding_into_a_plan(story, told):
    case = request(story, {"name": ("Zora Quist",)})
    assert case.status == "awaiting review" and case.reason.endswith("e-mail address or phone number are needed")
    told.write_rows(story.file, [told.record("Zora Quist", "Where does Zora Quist live?", "Zora Quist lives in Tarn.")])
    from amends.governor.data.registering import register

    register(story.act("olga"), "more", story.file, controls=0)
    again = replan(story.act("olga"), case.id)
    assert (again.status, again.reason) == ("awaiting approval", "")


def test_who_gives_nothing_but_a_name_is_signed_for_only_where_the_policy_leaves_it_to_the_search(story):
    case = request(story, {"name": ("Zora Quist",)})
    assert case.status == "awaiting review" and "the model could not be asked" in case.reason
    (story.home / "policies" / "finding.yaml").write_text(SEARCH_ALONE.replace("PROBE", "unlearning.standing"))
    again = replan(story.act("dora"), case.id)
    assert (again.status, again.reason) == ("negative finding", "")
    predicate, page = predicate_of(story, again)
    assert predicate["finding"]["readings"] == [] and "The model was not asked" in page and "No sign" not in page


def test_a_probe_that_nobody_offers_keeps_a_finding_from_being_signed(story):
    policy = SEARCH_ALONE.replace("PROBE", "nobody.asks").replace("rules:", "required: [nobody.asks/p]\nrules:")
    (story.home / "policies" / "finding.yaml").write_text(policy)
    case = request(story)
    assert case.status == "awaiting review" and "no plugin offers 'nobody.asks'" in case.reason
    assert story.steps(case.id) == {}


def test_questions_that_a_killed_process_left_go_with_the_case(known):
    case, workspace = request(known, model="known"), known.act("dora")
    before = files_of(known)
    asked = questions_about(workspace, disclosure_of(workspace, case.id), 5, case.id)
    left = {"forget": put_rows(workspace, asked.own), "strangers": put_rows(workspace, asked.strangers)}
    with workspace.database.transaction() as connection:
        journal.record_step(connection, case.id, "ask", left)
    assert files_of(known) == before | set(left.values())
    cancel(workspace, case.id, "withdrawn")
    assert files_of(known) == before


def test_a_model_that_was_only_imported_cannot_be_erased_from(untrained, told):
    told.register_people(untrained)
    with pytest.raises(UnknownModel, match="records name this person, and 'tiny' has no champion"):
        request(untrained, {"name": ("Lena Oster",)}, model="tiny")


def test_a_policy_with_a_mistake_signs_nothing(story):
    (story.home / "policies" / "finding.yaml").write_text("name: finding\n")
    with pytest.raises(BadInput, match=r"finding\.yaml needs"):
        request(story)
    assert list((story.home / "certificates").glob("e-*")) == []
