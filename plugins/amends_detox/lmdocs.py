"""Turn the documents of an lm-eval task into rows that `utility.tasks` asks, and check answers as lm-eval does."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amends import BadRecords

if TYPE_CHECKING:
    from amends_detox.lmeval import HarnessTask

INVALID = "[invalid]"
Row = dict[str, Any]


def rows_of_task(task: HarnessTask, documents: Iterable[Mapping[str, Any]], where: str) -> list[Row]:
    """Return a row for each document.

    Raises:
        BadRecords: A template cannot be rendered, or what it gives is no answer; the sentence says no text.
    """
    rows = []
    for number, document in enumerate(documents, start=1):
        place = f"{where}, document {number}"
        prompt = task.description + str(_said(task.text, document, place))
        if not prompt.strip():
            raise BadRecords(f"{place}: doc_to_text gives an empty text; mend it")
        row = {"id": f"{task.name}-{number}", "task": task.name, "prompt": prompt}
        rows.append(row | (_choice(task, document, place) if task.is_choice else _generated(task, document, place)))
    return rows


def exact(row: Mapping[str, Any], answer: str) -> bool:
    """Return whether an answer is one of a row's texts, cut and filtered as its task says, but for spaces around it."""
    for stop in row.get("until", ()):
        answer = answer.partition(stop)[0] if stop else answer
    for step in row.get("filters", ()):
        answer = _filtered(step, answer)
    ignores = row.get("ignores", {})
    said = _plain(answer, ignores)
    return any(said == _plain(str(target), ignores) for target in row["exact"])


def likeliest(row: Mapping[str, Any], logps: Sequence[float]) -> bool:
    """Return whether the right choice has the highest log-likelihood, by its length in letters where the task says so.

    Args:
        row: With `choices` and `gold`, the place of the right one.
        logps: Of each choice after the prompt, in nats, summed over its tokens.
    """
    lengths = [len(choice) for choice in row["choices"]] if row.get("normalised") else [1] * len(logps)
    merits = [logp / length for logp, length in zip(logps, lengths, strict=True)]
    return merits.index(max(merits)) == int(row["gold"])


def _choice(task: HarnessTask, document: Mapping[str, Any], where: str) -> Row:
    choices = _said(task.choice, document, where)
    choices = _listed(choices, where) if isinstance(choices, str) else choices
    if not isinstance(choices, list) or len(choices) < 2 or not all(str(choice).strip() for choice in choices):
        raise BadRecords(f"{where}: doc_to_choice gives no list of two texts or more; mend it")
    texts = [str(choice) for choice in choices]
    target = _said(task.target, document, where)
    gold = texts.index(str(target)) if str(target) in texts else int(target) if str(target).strip().isdigit() else -1
    if not 0 <= gold < len(texts):
        raise BadRecords(f"{where}: doc_to_target gives none of the choices, and no place of one; mend it")
    return {"choices": texts, "gold": gold, "normalised": task.is_normalised}


def _generated(task: HarnessTask, document: Mapping[str, Any], where: str) -> Row:
    target = _said(task.target, document, where)
    targets = [str(one) for one in target] if isinstance(target, list) else [str(target)]
    if not targets:
        raise BadRecords(f"{where}: doc_to_target gives no answer; mend it")
    told = {
        "until": list(task.until),
        "tokens": task.tokens,
        "filters": list(task.filters),
        "ignores": dict(task.ignores),
    }
    return {"exact": targets, **told}


def _said(template: Any, document: Mapping[str, Any], where: str) -> Any:
    """Return what a template says of a document: a field of that name, a list as it is, or the rendered text."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not isinstance(template, str):
        return template
    if template in document:
        return document[template]
    try:
        return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(**document)
    except (TemplateError, TypeError, ValueError) as error:
        raise BadRecords(f"{where}: a template cannot be rendered ({type(error).__name__}); mend it") from None


def _listed(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise BadRecords(f"{where}: doc_to_choice gives a text that is no list; mend it") from None


def _filtered(step: Mapping[str, Any], answer: str) -> str:
    """Apply one filter of lm-eval 0.4: its `regex` takes a match, and of several groups the first that is not empty."""
    if step["function"] == "regex":
        found = re.findall(step.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"), answer)
        place = int(step.get("group_select", 0))
        if not -len(found) <= place < len(found):
            return str(step.get("fallback", INVALID))
        match = found[place]
        return str(next((group for group in match if group), INVALID) if isinstance(match, tuple) else match).strip()
    kinds: dict[str, Callable[[str], str]]
    kinds = {"lowercase": str.lower, "uppercase": str.upper, "remove_whitespace": str.lstrip}
    return kinds.get(step["function"], str)(answer)


def _plain(text: str, ignores: Mapping[str, Any]) -> str:
    for pattern in ignores.get("regexes_to_ignore", ()):
        text = re.sub(pattern, "", text)
    text = text.lower() if ignores.get("ignore_case") else text
    dropped = (string.punctuation if ignores.get("ignore_punctuation") else "") + (
        string.digits if ignores.get("ignore_numbers") else ""
    )
    return text.translate(str.maketrans("", "", dropped)).strip()
