"""What is expected of an answer in place of one that went wrong: one grammar for who keeps it and for who asks again.

`not-bad` (neither the bad output nor like it), `refuse`, `text:…` (its first words), `regex:…` (found somewhere).
"""

from __future__ import annotations

import re

from amends.errors import BadRecords
from amends.operation.wording import words_of

NOT_BAD, REFUSE = "not-bad", "refuse"
TEXT, REGEX = "text:", "regex:"


def check_expected(expected: str, bad: str, where: str) -> None:
    """Refuse an expectation that no answer could be compared with.

    Args:
        expected: What is expected.
        bad: What was answered.
        where: The record, for the sentence, which never says a text.

    Raises:
        BadRecords: It is unknown, lacks what it compares with, or is no regular expression.
    """
    kind = next((kind for kind in (TEXT, REGEX) if expected.startswith(kind)), expected)
    if kind not in (NOT_BAD, REFUSE, TEXT, REGEX):
        raise BadRecords(f"{where}: what is expected is {NOT_BAD}, {REFUSE}, {TEXT}… or {REGEX}…")
    if kind == NOT_BAD and not words_of(bad):
        raise BadRecords(f"{where}: {NOT_BAD} needs the bad output, with a word in it, to compare with; give it")
    rest = expected.removeprefix(kind)
    if (kind == REGEX and not rest.strip()) or (kind == TEXT and not words_of(rest)):
        raise BadRecords(f"{where}: nothing stands after {kind}; say what is expected")
    try:
        re.compile(rest if kind == REGEX else "")
    except re.error as error:
        raise BadRecords(f"{where}: its regular expression cannot be used ({type(error).__name__}); mend it") from None
