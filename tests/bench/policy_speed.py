"""How fast policies are read and judge: a thousand rules, a hundred to a policy, which is the most that one may have."""

from __future__ import annotations

from typing import Any

from figures import Reading, median, read
from harness import stopwatch

RULE = """  - id: rule-{n}
    severity: deny
    expr: readings["speed.probe/v{n}"].high <= 1.5 * before["speed.probe/v{n}"].value && facts.objections == 0
    message: It is dearer than it was.
"""
HEAD = "name: speed\ndescription: As many rules as there may be.\napprovals: {count: 0}\nprobes: {speed.probe: {}}\n"
MOST = 100


def policies(rules: int) -> list[str]:
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
    texts, engine = policies(rules), CelEngine()

    def timed(name: str, action: Any) -> Any:
        with stopwatch() as watch:
            result = action()
        taken[name].append(watch.cpu)
        return result

    for _ in range(repeats):
        read_ = timed("read", lambda: [parse_policy(text) for text in texts])
        programs = timed("compile", lambda: [engine.compile(r.expression) for policy in read_ for r in policy.rules])
        sights = [Sight(p, inputs_to_json(some, some, {}, ())) for p, some in zip(read_, sides, strict=True)]
        given = [sight.given_to(rule) for sight in sights for rule in sight.policy.rules]
        told = zip(programs, given, strict=True)
        answers = timed("evaluate", lambda told=told: [engine.evaluate(program, what) for program, what in told])
        verdicts = timed("judge", lambda p=read_: [judge(*one, {}, ()) for one in zip(p, sides, sides, strict=True)])
        if not all(answer.passed for answer in answers) or not all(verdict.allowed for verdict in verdicts):
            raise RuntimeError("a rule that holds did not; the figures would be about something else")
    return [_reading(name, rules, times) for name, times in taken.items()]


def _reading(name: str, rules: int, times: list[float]) -> Reading:
    said = {
        "read": "read from YAML, checked and compiled",
        "compile": "compile alone",
        "evaluate": "evaluate alone",
        "judge": "judge: compile, evaluate and say why",
    }
    value, among = median([seconds / rules * 1e6 for seconds in times])
    return read(f"{rules:,} rules, {said[name]}", value, "CPU-us a rule", len(times), among)
