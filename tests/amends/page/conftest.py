"""Pages to look at: a statement of each kind, with everything on it that a page can have."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from amends.governor.proof.evidence import Approved, Asked, Evidence, History, Method, Outside, Step, Tried
from amends.governor.proof.statements import build_predicate, build_statement
from amends.records import Guarantee, ModelVersion, Reading, RuleAnswer, Verdict

HOW = {"margin": 0.1, "rungs": 3, "alpha": 0.05, "level": 0.966667, "half": "audit"}
SVG = "{http://www.w3.org/2000/svg}"
SCAN = {
    **{"digest": "d" * 64, "is_clean": True, "roots": ["workspace"], "files": 40, "bytes": 271_000, "hits": 0},
    **{"needles": {"utf-8": 40}, "left_out": {}, "controls": 2, "opaque": [], "public": {"files": 0, "bytes": 0}},
    **{"kinds": [], "blind": 0, "aside": 0, "unreadable": 0},
}


def compared(name, value, low, high, verdict="equivalent", n=60, power=0.93, **detail):
    told = {**HOW, "verdict": verdict, "least_margin": 0.081, "forgotten_people": 60, **detail}
    return Reading(name, value, low, high, n, "probability", power, told)


def attack(name, forgotten, control, *interval, ending="", **more):
    probe = f"unlearning.attack-{name}"
    sides = (
        Reading(f"{probe}/{who}{ending}", mean, mean - 0.06, mean + 0.06, 60, "probability", 0.9, {"half": "audit"})
        for who, mean in (("forgotten", forgotten), ("control", control))
    )
    return (*sides, compared(f"{probe}/difference{ending}", round(forgotten - control, 3), *interval, **more))


def last_rung():
    return (
        Reading("memorisation.extraction/strength", 0.03, 0.0, 0.06, 60, "share of tokens", None, {"left_out": 0}),
        Reading("unlearning.membership/auc_loss", 0.53, 0.44, 0.61, 60, "AUC", 0.88, {"effect": 0.2}),
        Reading("utility.perplexity/perplexity", 19.1, 18.0, 20.3, 40, "perplexity"),
        compared("unlearning.equivalence/probability", 0.021, -0.03, 0.07),
        compared("unlearning.equivalence/strength", -0.004, -0.06, 0.05),
        compared("unlearning.equivalence/auc_loss", 0.03, -0.09, 0.15, "inconclusive", power=0.31, least_margin=0.19),
        *attack("paraphrase", 0.21, 0.19, -0.03, 0.07),
        *attack("few-shot", 0.24, 0.22, -0.04, 0.08),
        *attack("quantisation", 0.31, 0.32, -0.07, 0.05, ending="_4bit"),
        *attack("lora-relearn", 0.38, 0.11, 0.16, 0.38, verdict="not equivalent", n=16),
    )


def rule(expression, message, passed=True, severity="deny"):
    return RuleAnswer("r", expression, message, severity, passed, "" if passed else "it is 0.38")


def both(name, limit):
    return f'readings["{name}"].low >= -{limit} && readings["{name}"].high <= {limit}'


RULES = (
    rule('readings["memorisation.extraction/strength"].value <= 0.1', "A piece can still be extracted."),
    rule(both("unlearning.equivalence/probability", 0.1), "Not like people never trained on, by probability."),
    rule(both("unlearning.equivalence/strength", 0.1), "Not like people never trained on, by strength."),
    rule(both("unlearning.equivalence/auc_loss", 0.2), "Not like people never trained on, by membership."),
    rule('readings["unlearning.attack-paraphrase/difference"].high <= 0.1', "Other words tell more."),
    rule('readings["unlearning.attack-few-shot/difference"].high <= 0.1', "Shots tell more."),
    rule('readings["unlearning.attack-quantisation/difference_4bit"].high <= 0.1', "Four bits tell more."),
)
LOST = rule('readings["unlearning.attack-lora-relearn/difference"].high <= 0.1', "Taught again, it tells more.", False)
HISTORY = History(
    ModelVersion("tiny", 1, "b" * 64),
    (Step("training.finetune", {"records": "c" * 64}),),
    (Step("training.finetune", {"records": "c" * 64}), Step("unlearning.npo", {"retain": "d" * 64})),
)


def evidence(**changes):
    before = (
        Reading("memorisation.extraction/strength", 0.81, 0.7, 0.9, 60, "share of tokens"),
        Reading("utility.perplexity/perplexity", 18.4, 17.5, 19.4, 40, "perplexity"),
        Reading("unlearning.attack-paraphrase/forgotten", 0.82, 0.74, 0.9, 60, "probability"),
    )
    fields = {
        **{"case": "e-0123456789", "model": "assistant", "outcome": "granted", "commitment": "e" * 64},
        **{"regime": "GDPR Article 17", "received_at": "2026-03-02T09:12:00+00:00"},
        **{"due_at": "2026-04-02T21:59:59+00:00", "completed_at": "2026-03-19T14:03:00+00:00"},
        **{"issued_at": "2026-03-19T14:05:00+00:00", "before": ModelVersion("assistant", 1, "a" * 64)},
        **{"after": ModelVersion("assistant", 2, "f" * 64), "entry": {}, "guarantee": Guarantee.APPROXIMATE},
        "inclusion": {"seq": 7, "size": 8, "hash": "1" * 64, "root": "2" * 64},
        "method": Method("unlearning.npo", {"amends": "0.1.0"}, 7, {"beta": 0.1}, {"threads": 1}, "f" * 64),
        "history": HISTORY,
        "readings_before": before,
        "readings_after": last_rung(),
        "explanations": {"unlearning.equivalence": "Whether forgotten people are as people never seen."},
        "verdict": Verdict(True, "erasure", "9" * 64, RULES),
        "tried": (
            Tried("toy.unfit", "", "this model is of another kind; take another operation"),
            Tried(
                "unlearning.revert",
                "approximate",
                "the erasure policy denies: Taught again, it tells more. (it is 0.41)",
                (
                    *last_rung()[:4],
                    *attack("lora-relearn", 0.52, 0.11, 0.3, 0.52, verdict="not equivalent", n=16),
                ),
            ),
        ),
        "approvals": (Approved("Ida Berg", "dpo", "2026-03-04T08:00:00+00:00", "f" * 64),),
        "scan": SCAN,
        "outside": (Outside("backup", "nightly", expires_at="2026-05-31T00:00:00+00:00"),),
        **changes,
    }
    return Evidence(**fields)


def exact(guarantee=Guarantee.EXACT, **changes):
    parts = (Step("training.shards", {"records": "c" * 64}),), (Step("training.shards", {"records": "d" * 64}),)
    fields = {
        **{"rebuilt_digest": "5" * 64, "counterfactual_digest": "5" * 64 if guarantee is Guarantee.EXACT else ""},
        **{"readings_after": last_rung()[:3], "verdict": Verdict(True, "erasure", "9" * 64, RULES[:1])},
        **{"tried": (), "history": History(HISTORY.base, *parts), **changes},
    }
    return evidence(guarantee=guarantee, **fields)


def negative(**changes):
    nothing = {"guarantee": None, "after": None, "method": None, "verdict": None, "scan": None, "history": None}
    searched = ("The keyed index of identifiers.", "The text of every registered record, in 3 data sets.")
    empty = {name: () for name in ("readings_before", "readings_after", "tried", "approvals", "outside")}
    return evidence(outcome="no data held", **nothing, **empty, searched=searched, **changes)


def asked():
    """Return what a model gave that was asked about somebody, and shows no sign of knowing them."""
    found = (
        Reading("unlearning.standing/p", 0.41, None, None, 199, "p value", None, {"verdict": "no sign"}),
        Reading("unlearning.attack-paraphrase/forgotten", 0.02, 0.0, 0.05, 1, "probability"),
    )
    shown = rule('readings["unlearning.standing/p"].value > 0.05', "The model is surer of this person.")
    explained = {"unlearning.standing": "Where one person stands among strangers."}
    return Asked(("email", "phone"), 2, 199, found, explained, Verdict(True, "finding", "8" * 64, (shown,)), "d-1")


def denied():
    """Return the statement of a report on a case that the policy denied after every rung."""
    last = Tried(
        "unlearning.npo", "approximate", "the erasure policy denies: Taught again, it tells more. (it is 0.38)"
    )
    known = evidence(
        **{"outcome": "", "guarantee": None, "after": None, "scan": None, "commitment": "", "completed_at": ""},
        **{"verdict": Verdict(False, "erasure", "9" * 64, (*RULES, LOST)), "outside": ()},
    )
    predicate = build_predicate(replace(known, tried=(*known.tried, last)), "Report of an erasure case")
    standing = {
        **{"status": "failed", "reason": "the erasure policy denies", "lead": known.case},
        **{"decision": f"{known.case}-erasure-3", "next": ["Register more people who stay withheld, and replan."]},
    }
    return {"predicate": {**predicate, "standing": standing}}


STATEMENTS = {
    "approximate": lambda: build_statement(evidence()),
    "exact": lambda: build_statement(exact()),
    "exact by data flow": lambda: build_statement(exact(Guarantee.EXACT_BY_DATA_FLOW)),
    "negative": lambda: build_statement(negative()),
    "finding": lambda: build_statement(negative(asked=asked())),
    "denied": denied,
}


def inference(**changes):
    """Return what a statement says of its own inference."""
    return build_statement(evidence(**changes))["predicate"]["readings"]["inference"]


@pytest.fixture(scope="session")
def told():
    """Return this module: what it defines besides fixtures is for the tests beside it."""
    return sys.modules[__name__]


@pytest.fixture(params=STATEMENTS)
def kind(request):
    """Return the name of each kind of statement in turn."""
    return request.param
