"""Judge a candidate: allowed only where every asked rule that denies passed, and nothing was missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amends.errors import BadInput
from amends.policy.engine import CelEngine, PolicyEngine
from amends.policy.evidence import inputs_to_json
from amends.policy.parsing import parse_policy
from amends.policy.references import ReadingReference
from amends.policy.rules import Policy, Quorum, Rule, Severity
from amends.policy.sight import Sight
from amends.records import Reading, RuleAnswer, Verdict

QUORUM = "built-in:quorum"
"""The answer that is about who approved."""

_WORDS = {2: "Two", 3: "Three", 4: "Four"}


def judge(
    policy: Policy,
    readings_before: Iterable[Reading],
    readings_after: Iterable[Reading],
    facts: Mapping[str, Any],
    approvals: Iterable[Mapping[str, Any]],
    objections: Iterable[str] = (),
    *,
    champion: Iterable[Reading] = (),
    engine: PolicyEngine | None = None,
) -> Verdict:
    """Judge a candidate by a policy, failing closed.

    Args:
        policy: The policy.
        readings_before: What the probes read on the parent (`before` in a rule).
        readings_after: What they read on the candidate (`readings` in a rule).
        facts: Values by the names in `FACTS`; `objections` is counted here, whatever is given.
        approvals: One mapping of `user`, `role` and `requester` for each approval of this plan's digest.
        objections: Sentences of reviewers; any one denies.
        champion: What was read on the version that the alias stands for now.
        engine: The language of the rules; CEL unless told.
    """
    inputs = inputs_to_json(readings_before, readings_after, facts, approvals, objections, champion)
    return _judge(policy, inputs, engine or CelEngine())


def replay(text: str, inputs: Mapping[str, Any], *, engine: PolicyEngine | None = None) -> Verdict:
    """Judge again from the policy's recorded text and the recorded inputs; an equal verdict confirms the record.

    Raises:
        BadPolicy: The text is no policy.
        BadInput: The inputs are not what `inputs_to_json` wrote.
    """
    engine = engine or CelEngine()
    try:
        return _judge(parse_policy(text, "recorded policy", engine), inputs, engine)
    except (KeyError, TypeError, AttributeError):
        raise BadInput("the recorded inputs are damaged; restore the record from the ledger") from None


def explain(verdict: Verdict) -> list[str]:
    """Return the verdict as plain sentences: the outcome first, then what denies, what warns, what holds."""
    outcome = "allows" if verdict.allowed else "denies"
    lines = [f"Policy {verdict.policy!r} (sha256 {verdict.policy_digest[:12]}) {outcome} this candidate."]
    failed = [answer for answer in verdict.answers if not answer.passed]
    lines += [f"Denied by {a.rule}: {a.message} ({a.reason})" for a in failed if a.severity == Severity.DENY]
    lines += [f"A reviewer objects: {sentence}" for sentence in verdict.objections]
    lines += [f"Warning from {a.rule}: {a.message} ({a.reason})" for a in failed if a.severity != Severity.DENY]
    return lines + [f"Rule {a.rule} holds ({a.reason})." for a in verdict.answers if a.passed]


def _judge(policy: Policy, inputs: Mapping[str, Any], engine: PolicyEngine) -> Verdict:
    sight = Sight(policy, inputs)
    answers = (
        *(_answer(rule, sight, engine) for rule in policy.rules),
        *(_required(name, sight) for name in policy.required),
        *_quorum(sight),
        *_nothing_asked(policy, sight),
    )
    objections = tuple(inputs["objections"])
    denied = any(not answer.passed and answer.severity == Severity.DENY for answer in answers)
    return Verdict(not denied and not objections, policy.name, policy.digest, answers, objections)


def _answer(rule: Rule, sight: Sight, engine: PolicyEngine) -> RuleAnswer:
    """Ask one rule; one that could not be answered denies, even where it was only to warn."""
    if passed_over := sight.passes_over(rule):
        return _said(rule, True, f"not asked: {passed_over}")
    if problems := list(sight.problems(rule)):
        severity = Severity.DENY if any(problem.absent for problem in problems) else rule.severity
        return _said(rule, False, "; ".join(problem.reason for problem in problems), severity)
    outcome = engine.evaluate(engine.compile(rule.expression), sight.given_to(rule))
    if outcome.error:
        return _said(rule, False, f"it could not be evaluated: {outcome.error}", Severity.DENY)
    return _said(rule, outcome.passed, sight.seen_by(rule))


def _required(name: str, sight: Sight) -> RuleAnswer:
    problems = list(sight.reading_problem(ReadingReference("readings", name, "value")))
    reason = problems[0].reason if problems else "it was read"
    return _built_in(f"required:{name}", f"The reading {name} is required.", not problems, reason)


def _quorum(sight: Sight) -> Iterable[RuleAnswer]:
    unknown = [name for name in ("environment", "first") if name not in sight.facts]
    if sight.policy.environments and unknown:
        message = "Which alias moves, and whether it ever stood anywhere, says who must approve."
        yield _built_in(QUORUM, message, False, f"the fact {unknown[0]} was not recorded")
        return
    quorum = sight.quorum
    if quorum.count == 0:
        return
    problems = list(sight.approval_problem())
    approved = len(sight.approvers(quorum.roles))
    reason = problems[0].reason if problems else f"{approved} of {quorum.count} approved"
    message = _wanted(quorum, bool(sight.policy.environments))
    yield _built_in(QUORUM, message, not problems and approved >= quorum.count, reason)


def _wanted(quorum: Quorum, in_words: bool) -> str:
    """Say who must approve; verdicts that were recorded before there were environments say it in figures."""
    among = f" ({', '.join(quorum.roles)})" if quorum.roles else ""
    people = f"{_WORDS.get(quorum.count, quorum.count) if in_words else quorum.count} different people"
    people = "One person" if in_words and quorum.count == 1 else people
    return f"{people}{among} other than the requester must approve."


def _nothing_asked(policy: Policy, sight: Sight) -> Iterable[RuleAnswer]:
    if all(sight.passes_over(rule) for rule in policy.rules if rule.severity is Severity.DENY):
        message = "No rule that can deny was asked, and nothing is approved by an absence."
        yield _built_in("built-in:asked", message, False, "every denying rule is for another guarantee")


def _said(rule: Rule, passed: bool, reason: str, severity: Severity | None = None) -> RuleAnswer:
    return RuleAnswer(rule.id, rule.expression, rule.message, str(severity or rule.severity), passed, reason)


def _built_in(name: str, message: str, passed: bool, reason: str) -> RuleAnswer:
    return RuleAnswer(name, "", message, str(Severity.DENY), passed, reason)
