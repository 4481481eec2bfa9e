"""Turn the documents of an lm-eval task into rows that `utility.tasks` asks, each part said as lm-eval says it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amends import BadRecords

if TYPE_CHECKING:
    from jinja2 import Template

Row = dict[str, Any]


@dataclass(frozen=True)
class HarnessTask:
    """One task as its file says it; `filters`, `ignores`, `until` and `tokens` are about generated answers alone."""

    name: str
    is_choice: bool
    text: str
    target: Any
    choice: Any = None
    description: str = ""
    is_normalised: bool = False
    until: tuple[str, ...] = ()
    tokens: int = 0
    filters: tuple[Row, ...] = ()
    ignores: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """One document of a task, with the names of the fields of all of them."""

    values: Mapping[str, Any]
    fields: frozenset[str]
    where: str

    def say(self, template: Any) -> Any:
        """Return what a template says: the value of the field that it names, what is no text as it is, or its text.

        Raises:
            BadRecords: The document lacks what it names, or it cannot be rendered.
        """
        if not isinstance(template, str):
            return template
        if template in self.fields and template not in self.values:
            raise BadRecords(f"{self.where}: it lacks the field that a template names; add it")
        return self.values[template] if template in self.fields else self.render(template)

    def render(self, template: str) -> str:
        """Return the text of a template.

        Raises:
            BadRecords: It cannot be rendered; the sentence says no text.
        """
        from jinja2 import TemplateError

        try:
            return _compiled(template).render(dict(self.values))
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise BadRecords(f"{self.where}: a template cannot be rendered ({type(error).__name__}); mend it") from None


def rows_of_task(task: HarnessTask, documents: Sequence[Mapping[str, Any]], where: str) -> list[Row]:
    """Return a row for each document.

    Raises:
        BadRecords: A template cannot be rendered, or what it gives is no answer; the sentence says no text.
    """
    fields = frozenset(name for values in documents for name in values)
    rows = []
    for number, values in enumerate(documents, start=1):
        document = Document(values, fields, f"{where}, document {number}")
        row = {"id": f"{task.name}-{number}", "task": task.name, "prompt": _prompt(task, document)}
        rows.append(row | (_choice(task, document) if task.is_choice else _generated(task, document)))
    return rows


def _prompt(task: HarnessTask, document: Document) -> str:
    """Return the description and the document's text; a number alone would be the place of one of several texts."""
    text, before = document.say(task.text), document.render(task.description)
    if not isinstance(text, str) or not (before + text).strip() or (task.is_choice and text.isdecimal()):
        raise BadRecords(f"{document.where}: doc_to_text gives no text to go on from; mend it")
    return before + text


def _choice(task: HarnessTask, document: Document) -> Row:
    choices = document.say(task.choice)
    if isinstance(choices, str):
        choices = _literal(choices)
    if not isinstance(choices, list) or len(choices) < 2 or not all(str(choice).strip() for choice in choices):
        raise BadRecords(f"{document.where}: doc_to_choice gives no list of two texts or more; mend it")
    texts = [str(choice) for choice in choices]
    gold = document.say(task.target)
    if isinstance(gold, str):
        is_place = task.target not in document.fields and gold.isdecimal()
        gold = int(gold) if is_place else texts.index(gold) if gold in texts else -1
    if not isinstance(gold, int) or not 0 <= gold < len(texts):
        raise BadRecords(f"{document.where}: doc_to_target gives none of the choices, and no place of one; mend it")
    return {"choices": texts, "gold": int(gold), "normalised": task.is_normalised}


def _generated(task: HarnessTask, document: Document) -> Row:
    target = document.say(task.target)
    if isinstance(target, str) and task.target not in document.fields and target[:1] + target[-1:] == "[]":
        target = _literal(target)
    targets = target if isinstance(target, list) else [target]
    if not targets or not all(isinstance(one, str | int | float) for one in targets):
        raise BadRecords(f"{document.where}: doc_to_target gives no answer; mend it")
    told = {"until": list(task.until), "tokens": task.tokens, "filters": list(task.filters), "ignores": task.ignores}
    return {"exact": [str(one) for one in targets], **told}


def _literal(text: str) -> Any:
    """Return the list that a rendered text writes, or the text where it writes nothing of Python's."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(template)
