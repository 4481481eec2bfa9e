"""How fast policies are read and judge: a hundred rules to a policy, which is the most that one may have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from figures import Reading, median, read
from harness import stopwatch

RULE = """  - id: rule-{n}
    severity: deny
    expr: readings["speed.probe/v{n}"].high <= 1.5 * before["speed.probe/v{n}"].value && facts.objections == 0
    message: It is dearer than it was.
"""
HEAD = "name: speed\ndescription: As many rules as there may be.\napprovals: {count: 0}\nprobes: {speed.probe: {}}\n"
MOST = 100


def texts_of(rules: int) -> list[str]:
    """Return policies with so many rules together, each of which reads a reading of its own on both sides."""
    texts = []
    for first in range(0, rules, MOST):
        texts.append(f"{HEAD}rules:\n" + "".join(RULE.format(n=n) for n in range(first, min(first + MOST, rules))))
    return texts


def measure(rules: int, repeats: int) -> list[Reading]:
    """Read, compile, evaluate and judge so many rules, each so often."""
    from amends.policy import judge, parse_policy
    from amends.policy.engine import CelEngine
    from amends.policy.evidence import inputs_to_json
    from amends.policy.sight import Sight
    from amends.records import Reading as Read

    taken: dict[str, list[float]] = {name: [] for name in ("read", "compile", "evaluate", "judge")}
    seen = [Read(f"speed.probe/v{n}", 1.0, low=0.9, high=1.2, n=100) for n in range(rules)]
    sides = [seen[first : first + MOST] for first in range(0, rules, MOST)]
    texts, engine = texts_of(rules), CelEngine()
    for _ in range(repeats):
        with _timed(taken["read"]):
            policies = [parse_policy(text) for text in texts]
        every = [(policy, rule) for policy in policies for rule in policy.rules]
        with _timed(taken["compile"]):
            programs = [engine.compile(rule.expression) for _, rule in every]
        beside = list(zip(policies, sides, strict=True))
        beside = list(zip(policies, sides, strict=True))
        sights = [Sight(policy, inputs_to_json(some, some, {}, ())) for policy, some in beside]
        given = [sight.given_to(rule) for sight in sights for rule in sight.policy.rules]
        with _timed(taken["evaluate"]):
            answers = [engine.evaluate(program, what) for program, what in zip(programs, given, strict=True)]
        with _timed(taken["judge"]):
            verdicts = [judge(policy, some, some, {}, ()) for policy, some in beside]
        if not all(answer.passed for answer in answers) or not all(verdict.allowed for verdict in verdicts):
            raise RuntimeError("a rule that holds did not; the figures would be about something else")
    return [_reading(name, rules, times) for name, times in taken.items()]


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    with stopwatch() as watch:
        yield
    times.append(watch.cpu)


def _reading(name: str, rules: int, times: list[float]) -> Reading:
    said = {
        "read": "read from YAML, checked and compiled",
        "compile": "compile alone",
        "evaluate": "evaluate alone",
        "judge": "judge: compile, evaluate and say why",
    }
    value, among = median([seconds / rules * 1e6 for seconds in times])
    return read(f"{rules:,} rules, {said[name]}", value, "CPU-us a rule", len(times), among)
