import base64
import hashlib
import json
from dataclasses import asdict, replace

import pytest

from amends.errors import BadInput, Tampered
from amends.governor.proof.certificates import issue, verify_certificate
from amends.governor.proof.evidence import Approved, Asked, Evidence, Method, Outside, Purged
from amends.governor.proof.risks import risks_of
from amends.governor.proof.statements import title_of
from amends.ledger import audit, checkpoints
from amends.ledger.actions import Action
from amends.ledger.database import Database
from amends.records import Guarantee, ModelVersion, Reading, RuleAnswer, Verdict, canonical_json
from amends.vault import signing
from amends.vault.keys import Keyring

OLD, NEW, REBUILT = "a" * 64, "b" * 64, "c" * 64
CASE = "er-2025-0007"
RULE = RuleAnswer(
    "alarm-extraction",
    'readings["memorisation.extraction/strength"].value <= 0.2',
    "A long piece of the erased answers can still be extracted.",
    "warn",
    True,
    "",
)
SCAN = {
    "digest": "d" * 64,
    "is_clean": True,
    "roots": ["workspace", "artifacts"],
    "files": 40,
    "bytes": 271_000_000,
    "needles": {"utf-8": 40, "int32 ids": 60},
    "left_out": {},
    "controls": 2,
    "kinds": [
        {"kind": "jsonl", "files": 3, "bytes": 9000, "hits": 0, "controls_seen": 2, "claim": "absent"},
        {
            "kind": "safetensors",
            "files": 9,
            "bytes": 9000,
            "hits": 0,
            "controls_seen": 0,
            "claim": "searched, no control",
        },
    ],
    "opaque": [{"key": "lineages/3", "is_destroyed": True, "files": 4, "bytes": 3000}],
    "public": {"files": 1, "bytes": 269_000_000},
    "hits": 0,
    "blind": 0,
    "aside": 2,
    "unreadable": 0,
}


@pytest.fixture(scope="module")
def keyring(tmp_path_factory):
    return Keyring.create(tmp_path_factory.mktemp("keys") / "ring")


@pytest.fixture(scope="module")
def closing(keyring, tmp_path_factory):
    """Return the closing entry of the case and its proof, from a real log."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db")
    database.migrate()
    with database.transaction() as connection:
        for number in range(6):
            audit.append(connection, id=f"x-{number}", actor="Ida Berg", action=Action.DATA_REGISTERED, body={})
        entry = audit.append(connection, id=CASE, actor="Ida Berg", action=Action.CASE_CLOSED, body={"case": CASE})
        audit.append(connection, id="later", actor="Ida Berg", action=Action.DATA_REGISTERED, body={})
        checkpoints.checkpoint(connection, keyring)
        return asdict(entry), json.loads(canonical_json(asdict(checkpoints.inclusion(connection, entry.seq))))


@pytest.fixture
def evidence(closing):
    entry, inclusion = closing
    readings = {"name": "memorisation.extraction/strength", "n": 12, "unit": "share", "power": 0.9}
    return Evidence(
        case=CASE,
        model="assistant",
        outcome="granted",
        commitment="e" * 64,
        regime="GDPR Article 17",
        received_at="2025-11-03T09:12:00+00:00",
        due_at="2025-12-03T23:59:59+00:00",
        completed_at="2025-11-21T14:03:00+00:00",
        issued_at="2025-11-21T14:05:00+00:00",
        before=ModelVersion("assistant", 1, OLD),
        after=ModelVersion("assistant", 2, NEW),
        entry=entry,
        inclusion=inclusion,
        guarantee=Guarantee.EXACT,
        method=Method("unlearning.shards", {"amends": "0.1.0"}, 7, {"epochs": 3}, {"threads": 1}, "f" * 64),
        rebuilt_digest=REBUILT,
        counterfactual_digest=REBUILT,
        readings_before=(Reading(value=0.81, low=0.7, high=0.9, **readings),),
        readings_after=(Reading(value=0.03, low=0.0, high=0.06, **readings),),
        verdict=Verdict(True, "erasure", "9" * 64, (RULE,)),
        approvals=(Approved("Ida Berg", "dpo", "2025-11-04T08:00:00+00:00", "f" * 64),),
        purged=(Purged("records", 20, 4096),),
        scan=SCAN,
        suppression="The person is on the suppression list.",
        outside=(Outside("backup", "nightly", "1" * 64, "2026-01-01T00:00:00+00:00"),),
    )


def statement_of(certificate) -> dict:
    return json.loads(base64.b64decode(json.loads(certificate.envelope.read_bytes())["payload"]))


def reissue(certificate, keyring, change) -> None:
    """Change the statement and sign it again with the right key: a dishonest operator."""
    statement = statement_of(certificate)
    change(statement["predicate"])
    envelope = signing.sign(keyring, "application/vnd.in-toto+json", canonical_json(statement))
    certificate.envelope.write_bytes(canonical_json(envelope))


@pytest.mark.parametrize(
    ("guarantee", "outcome", "title"),
    [
        (Guarantee.EXACT, "granted", "Certificate of erasure"),
        (Guarantee.EXACT_BY_DATA_FLOW, "partly granted", "Certificate of erasure"),
        (Guarantee.APPROXIMATE, "granted", "Record of measures taken"),
        (None, "no data held", "Finding: no data held"),
    ],
)
def test_a_guarantee_allows_exactly_one_title(guarantee, outcome, title):
    assert title_of(guarantee, outcome) == title


def test_an_outcome_without_a_guarantee_has_no_title():
    with pytest.raises(BadInput, match="nothing can be attested"):
        title_of(None, "granted")


def test_an_issued_certificate_verifies_offline_from_either_file(evidence, keyring, tmp_path):
    certificate = issue(evidence, keyring, tmp_path)
    for path in (certificate.envelope, certificate.page):
        answer = verify_certificate(path, keyring.public_keys())
        assert answer["title"] == certificate.title == "Certificate of erasure"
        assert (answer["case"], answer["model"], answer["guarantee"]) == (CASE, "assistant", "exact")
        assert answer["anchor"] == "self-attested"
        assert answer["digest"] == certificate.digest == hashlib.sha256(certificate.envelope.read_bytes()).hexdigest()
        assert len(answer["checks"]) == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{CASE}.dsse.json", f"{CASE}.html"]


def test_the_statement_is_in_toto_about_both_versions(evidence, keyring, tmp_path):
    statement = statement_of(issue(evidence, keyring, tmp_path))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://amends.dev/erasure/v1"
    assert statement["subject"] == [
        {"name": "assistant@1", "digest": {"sha256": OLD}},
        {"name": "assistant@2", "digest": {"sha256": NEW}},
    ]
    assert statement["predicate"]["outside"][0]["is_pending"] is True
    assert statement["predicate"]["readings"]["thresholds"][0]["value"] == 0.2


def test_issuing_again_gives_the_same_bytes(evidence, keyring, tmp_path):
    first = issue(evidence, keyring, tmp_path / "a")
    second = issue(evidence, keyring, tmp_path / "b")
    assert first.envelope.read_bytes() == second.envelope.read_bytes()
    assert first.page.read_bytes() == second.page.read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"counterfactual_digest": "0" * 64}, "different digests"),
        ({"rebuilt_digest": "", "counterfactual_digest": ""}, "no digest"),
        ({"scan": None}, "no clean scan"),
        ({"scan": {**SCAN, "is_clean": False}}, "no clean scan"),
        ({"verdict": None}, "did not allow"),
        ({"verdict": Verdict(False, "erasure", "9" * 64, ())}, "did not allow"),
        ({"after": None}, "no new version"),
        ({"case": "../up"}, "cannot name a file"),
        ({"case": "er-2025-0008"}, "does not name case"),
    ],
)
def test_evidence_that_does_not_carry_its_title_is_refused(evidence, keyring, tmp_path, change, reason):
    with pytest.raises(BadInput, match=reason):
        issue(replace(evidence, **change), keyring, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_approximate_result_is_a_record_of_measures(evidence, keyring, tmp_path):
    weaker = replace(evidence, guarantee=Guarantee.APPROXIMATE, rebuilt_digest="", counterfactual_digest="")
    certificate = issue(weaker, keyring, tmp_path)
    assert certificate.title == "Record of measures taken"
    assert verify_certificate(certificate.envelope, keyring.public_keys())["guarantee"] == "approximate"
    assert "Certificate of erasure" not in certificate.page.read_text()


def test_a_negative_finding_needs_no_model_to_replace(evidence, keyring, tmp_path):
    nothing = {"guarantee": None, "outcome": "no data held", "after": None, "method": None, "verdict": None}
    empty = {"readings_before": (), "readings_after": (), "approvals": (), "purged": (), "scan": None}
    finding = replace(evidence, **nothing, **empty, rebuilt_digest="", searched=("The index of 3 datasets.",))
    certificate = issue(finding, keyring, tmp_path)
    assert verify_certificate(certificate.page, keyring.public_keys())["title"] == "Finding: no data held"
    assert len(statement_of(certificate)["subject"]) == 1


def finding_of(evidence, asked):
    nothing = {"guarantee": None, "outcome": "no data held", "after": None, "method": None, "verdict": None}
    empty = {"readings_before": (), "readings_after": (), "approvals": (), "purged": (), "scan": None}
    return replace(evidence, **nothing, **empty, rebuilt_digest="", searched=("The index.",), asked=asked)


STANDING = Reading("unlearning.standing/p", 0.62, n=199, unit="p value", detail={"verdict": "no sign"})
ALLOWED = Verdict(True, "finding", "9" * 64, (replace(RULE, message="The model is surer of this person."),))
ASKED = Asked(("email",), 1, 199, (STANDING,), {"unlearning.standing": "Read where one stands."}, ALLOWED, "d-0")


def test_a_finding_says_what_the_model_was_asked_and_what_that_does_not_show(evidence, keyring, tmp_path):
    certificate = issue(finding_of(evidence, ASKED), keyring, tmp_path)
    verify_certificate(certificate.page, keyring.public_keys())
    said, page = statement_of(certificate)["predicate"]["finding"], certificate.page.read_text()
    assert (said["answer"], said["readings"][0]["value"], said["decision"]) == ("no sign", 0.62, "d-0")
    for text in ("Does the model show signs of knowing them?", "No sign was seen", "0.620", *said["limits"]):
        assert text in page
    assert "Does the model show" not in issue(evidence, keyring, tmp_path).page.read_text()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"readings": (replace(STANDING, value=0.01, detail={"verdict": "sign"}),)}, "A sign was seen"),
        ({"readings": (replace(STANDING, value=float("nan"), detail={"verdict": "cannot say"}),)}, "Nobody can say"),
        ({"readings": (), "why_not": "only a name was given"}, "The model was not asked"),
    ],
)
def test_a_page_never_says_that_no_sign_was_seen_where_none_could_be(evidence, keyring, tmp_path, changed, text):
    page = issue(finding_of(evidence, replace(ASKED, **changed)), keyring, tmp_path).page.read_text()
    assert text in page and "No sign was seen" not in page


@pytest.mark.parametrize("verdict", [replace(ALLOWED, allowed=False), None])
def test_what_the_policy_does_not_allow_is_no_finding(evidence, keyring, tmp_path, verdict):
    with pytest.raises(BadInput, match="the policy did not allow the finding"):
        issue(finding_of(evidence, replace(ASKED, verdict=verdict)), keyring, tmp_path)


def test_a_changed_page_is_noticed(evidence, keyring, tmp_path):
    certificate = issue(evidence, keyring, tmp_path)
    certificate.page.write_text(certificate.page.read_text().replace("0.030", "0.010"))
    with pytest.raises(Tampered, match="not the page that was signed"):
        verify_certificate(certificate.page, keyring.public_keys())


def test_every_changed_byte_of_the_statement_is_noticed(evidence, keyring, tmp_path):
    certificate = issue(evidence, keyring, tmp_path)
    envelope = json.loads(certificate.envelope.read_bytes())
    payload = bytearray(base64.b64decode(envelope["payload"]))
    for place in range(0, len(payload), 97):
        changed = bytes(payload[:place]) + bytes([payload[place] ^ 1]) + bytes(payload[place + 1 :])
        certificate.envelope.write_text(json.dumps({**envelope, "payload": base64.b64encode(changed).decode()}))
        with pytest.raises(Tampered):
            verify_certificate(certificate.envelope, keyring.public_keys())


def test_another_key_does_not_verify(evidence, keyring, tmp_path):
    certificate = issue(evidence, keyring, tmp_path / "out")
    stranger = Keyring.create(tmp_path / "ring")
    with pytest.raises(Tampered, match="not signed by any of these keys"):
        verify_certificate(certificate.envelope, stranger.public_keys())


def _set(*path):
    *parents, last, value = path

    def change(predicate):
        for name in parents:
            predicate = predicate[name]
        predicate[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("title", "Record of measures taken"), "title must be"),
        (_set("guarantee", "name", "approximate"), "title must be"),
        (_set("guarantee", "name", "perfect"), "nothing can be attested"),
        (_set("guarantee", "counterfactual", "0" * 64), "different digests"),
        (_set("policy", "allowed", False), "did not allow"),
        (_set("purge", "scan", "is_clean", False), "no clean scan"),
        (_set("purge", "scan", {}), "a part of it is missing"),
        (_set("versions", "after", "digest", "0" * 64), "other models above than below"),
        (_set("residual_risks", None), "residual_risks"),
        (_set("audit", "entry", "actor", "Somebody"), "not the one that its proof is about"),
        (_set("audit", "entry", {}), "incomplete"),
        (_set("audit", "inclusion", "path", []), "not under the signed root"),
        (_set("audit", "inclusion", "root", "0" * 64), "another root"),
        (_set("case", "id", "er-2025-0008"), "does not name case"),
        (_set("page", "sha256", "0" * 64), "not the page"),
    ],
)
def test_a_false_statement_is_noticed_even_when_its_signature_holds(evidence, keyring, tmp_path, change, reason):
    certificate = issue(evidence, keyring, tmp_path)
    reissue(certificate, keyring, change)
    with pytest.raises(Tampered, match=reason):
        verify_certificate(certificate.envelope, keyring.public_keys())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff\xfe", b'{"payload": 3, "payloadType": 1, "signatures": 2}'])
def test_what_is_no_envelope_is_tampered_with(evidence, keyring, tmp_path, data):
    certificate = issue(evidence, keyring, tmp_path)
    certificate.envelope.write_bytes(data)
    with pytest.raises(Tampered):
        verify_certificate(certificate.envelope, keyring.public_keys())


def test_a_missing_page_is_named(evidence, keyring, tmp_path):
    certificate = issue(evidence, keyring, tmp_path)
    certificate.page.unlink()
    with pytest.raises(BadInput, match="two files"):
        verify_certificate(certificate.envelope, keyring.public_keys())


def test_a_statement_says_what_it_does_not_prove(evidence, keyring, tmp_path):
    risks = " ".join(statement_of(issue(evidence, keyring, tmp_path))["predicate"]["residual_risks"])
    assert "The last one expires on 2026-01-01." in risks
    assert "safetensors" in risks
    assert "self-attested" in risks
    assert "layers of an edit" in risks
    weaker = replace(evidence, guarantee=Guarantee.APPROXIMATE)
    assert "layers of an edit" not in " ".join(risks_of(weaker))


def test_an_anchor_outside_is_named_instead_of_self_attested(evidence, keyring, tmp_path):
    certificate = issue(replace(evidence, anchor="RFC 3161, tsa.example"), keyring, tmp_path)
    assert verify_certificate(certificate.envelope, keyring.public_keys())["anchor"] == "RFC 3161, tsa.example"
    assert "self-attested" not in certificate.page.read_text()
