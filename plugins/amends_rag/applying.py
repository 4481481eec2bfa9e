"""From documents to a case that grounds a model in them: read, register, open, follow. `amends rag apply` calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadInput, BadRecords
from amends.cli.following import follow
from amends.cli.output import Screen
from amends.governor.cases.changing import open_change
from amends.governor.data.rawfiles import read_objects
from amends.governor.data.registering import register_rows
from amends.governor.workspace import Workspace
from amends_rag.chunking import sentences
from amends_rag.documents import Document, read_documents
from amends_rag.reranking import pinned

POLICIES = {"rag.context": "rag", "rag.replug": "rag", "rag.knn-lm": "rag-text", "rag.memory": "rag-text"}
OPENING, FOLLOWING = 40, 30  # words of a document by which an audit asks for it, and that answer

Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What somebody asked for.

    Args:
        model: The model to ground.
        documents: Files and folders to ground it in.
        method: How.
        questions: A file of questions that judge what reads passages.
        text: A file of held-out text that judges what changes every next token, a passage a line.
        parameters: The operation's settings.
        seed: The only source of randomness.
        name: What the data sets are called; as the model, where nothing is said: a file's name may be a person's.
    """

    model: str
    documents: Sequence[Path]
    method: str
    questions: Path | None = None
    text: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str = ""


def open_and_follow(screen: Screen, workspace: Workspace, request: Request, drop_suppressed: bool) -> int:
    """Register documents and what judges, open the case, and carry it on as far as nobody has to approve.

    Raises:
        BadInput: A file cannot be used, or the method is none of these.
    """
    policy = POLICIES.get(request.method)
    if policy is None:
        raise BadInput(f"no document is read by {request.method!r}; take one of {', '.join(sorted(POLICIES))}")
    judging, name = _judging(request, policy), request.name or request.model
    documents, parameters = list(read_documents(request.documents)), pinned(request.parameters)

    def register(part: str, rows: Iterable[Row], text: str, source: Path | None) -> str:
        return register_rows(
            workspace, f"{name}-{part}", rows, text_field=text, source=source, drop_suppressed=drop_suppressed
        ).digest

    only = request.documents[0] if len(request.documents) == 1 and request.documents[0].is_file() else None
    records = {"documents": register("documents", map(row_of, documents), "text", only)}
    case = open_change(
        workspace, model=request.model, policy=policy, records=records,
        judging={part: register(part, rows, "prompt", None) for part, rows in judging.items()},
        operation=request.method, parameters=parameters, seed=request.seed,
    )  # fmt: skip
    return follow(screen, workspace, case.id)


def _judging(request: Request, policy: str) -> dict[str, list[Row]]:
    """Return what judges: questions for what reads passages, held-out text for what changes every next token.

    Nothing is made up in place of what is not given: what a method read, it would be found to know.

    Raises:
        BadInput: It is not given.
    """
    if policy == "rag-text":
        if request.text is None:
            raise BadInput(f"{request.method} is judged by text that it did not read; give some with --text FILE")
        return {"text": read_text(request.text)}
    if request.questions is None:
        raise BadInput(
            f"{request.method} is judged by questions with right answers; give some with --questions FILE, a line "
            'being {"prompt": ..., "answer": ...}'
        )
    return {"questions": read_questions(request.questions)}


def row_of(document: Document) -> Row:
    """Return a document as a record: its text, whose it is, and how its opening goes on, which audits ask."""
    asked, answer = opening(document.text)
    return {
        "id": document.label, "title": document.label, "text": document.text, "prompt": asked, "answer": answer,
        "subject": list(document.subjects),
    }  # fmt: skip


def opening(text: str) -> tuple[str, str]:
    """Return the beginning of a text and what follows it: its first sentence and the next, or the halves of one."""
    first, *others = sentences(text) or [""]
    if not others:
        words = first.split()
        half = (len(words) + 1) // 2
        first, others = " ".join(words[:half]), [" ".join(words[half:])]
    return " ".join(first.split()[:OPENING]), " ".join(others[0].split()[:FOLLOWING])


def read_questions(file: Path) -> list[Row]:
    """Return questions with their right answers: `prompt`, `answer` or `answers`, and perhaps `passage` and `subjects`.

    Raises:
        BadRecords: A line cannot be used.
    """
    rows = []
    for number, row in read_objects(file):
        where = f"{file.name}, line {number}"
        answers = [row["answer"]] if row.get("answer") else row.get("answers")
        if not isinstance(row.get("prompt"), str) or not isinstance(answers, list) or not answers:
            raise BadRecords(f"{where}: write a `prompt`, and an `answer` or a list of right `answers`")
        if not all(isinstance(answer, str) and answer.strip() for answer in answers):
            raise BadRecords(f"{where}: each right answer must be a text that is not blank")
        kept = {name: row[name] for name in ("passage",) if row.get(name)}
        subjects = row.get("subjects") or []
        rows.append({
            "id": str(row.get("id") or number), "prompt": row["prompt"], "answer": answers[0], "answers": answers,
            "subject": subjects, **kept,
        })  # fmt: skip
    if not rows:
        raise BadRecords(f"{file.name} has no questions; write a JSON object a line")
    return rows


def read_text(file: Path) -> list[Row]:
    """Return passages of held-out text, one for each line of two words or more.

    Raises:
        BadRecords: It cannot be read, or there is none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadRecords(f"{file} cannot be read as UTF-8; give a text file") from None
    rows = [{"id": str(number), "prompt": " ".join(line.split())} for number, line in enumerate(lines)]
    rows = [row for row in rows if " " in row["prompt"]]
    if not rows:
        raise BadRecords(f"{file.name} has no passages; write one a line")
    return rows
