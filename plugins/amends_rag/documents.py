"""Read documents: text, Markdown, HTML, PDF and JSON Lines, files or folders of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from amends import BadInput

MOST_BYTES = 32 * 1024 * 1024
"""The most bytes of one document, or of one line of JSON Lines; a file of lines may be as long as it likes."""


@dataclass(frozen=True)
class Document:
    """One document before it is cut.

    Args:
        label: What it calls itself: its path below the folder that was named, or its own id.
        text: All its text.
        subjects: The names of the people it is about, as far as its owner says.
    """

    label: str
    text: str = field(repr=False)
    subjects: tuple[str, ...] = field(default=(), repr=False)


def read_documents(paths: Iterable[Path]) -> Iterator[Document]:
    """Yield the documents of files and folders, one at a time, folders in the order of their names.

    Raises:
        BadInput: One cannot be read, is too long, or none has any text; the sentence names the file.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            for file, document in _documents(path):
                if document.label in seen:
                    raise BadInput(f"{file}: a document of that name was given before; give each a name of its own")
                seen.add(document.label)
                yield document
        except OSError as error:
            raise BadInput(
                f"{str(path)[:200]} cannot be read ({error.strerror}); give files that you may read"
            ) from error
    if not seen:
        raise BadInput("there is no text in the documents; give files of .txt, .md, .html, .pdf or .jsonl with text")


def _documents(path: Path) -> Iterator[tuple[Path, Document]]:
    return ((file, document) for label, file in _files(path) for document in _READERS[file.suffix.lower()](file, label))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        found = (file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix.lower() in _READERS)
        yield from ((file.relative_to(path).as_posix(), file) for file in found)
    elif not path.is_file():
        raise BadInput(f"there is no file {path}; name a document or a folder of documents")
    elif path.suffix.lower() not in _READERS:
        raise BadInput(f"{path} is of no kind that can be read; give one of {', '.join(sorted(_READERS))}")
    else:
        yield path.name, path


def _plain(file: Path, label: str) -> Iterator[Document]:
    yield from _whole(label, _text(file))


def _html(file: Path, label: str) -> Iterator[Document]:
    reader = _Words()
    reader.feed(_text(file))
    reader.close()
    yield from _whole(label, "".join(reader.parts))


def _pdf(file: Path, label: str) -> Iterator[Document]:
    import logging

    from pypdf import PdfReader

    _check_length(file)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it quotes what it cannot read
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadInput(f"{file} is locked by a password; save it without one")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
    except BadInput:
        raise
    except Exception as error:  # what a broken file makes its parser raise is no closed list
        raise BadInput(f"{file} is broken or no PDF; open and save it again, or give its text") from error
    if not text.strip():
        raise BadInput(f"{file} has pages but no text, as scans do; have its text recognised first")
    yield Document(label, text)


def _lines(file: Path, label: str) -> Iterator[Document]:
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MOST_BYTES + 1):
            number += 1
            where = f"{file}, line {number}"
            if len(line) > MOST_BYTES:
                raise BadInput(f"{where}: a document has at most {MOST_BYTES >> 20} MiB; split it into several")
            if line.strip():
                yield from _of_row(where, f"{label}:{number}", line)


def _of_row(where: str, label: str, line: bytes) -> Iterator[Document]:
    try:
        row: Any = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not JSON; give one object with `text` a line") from error
    text = row.get("text") if isinstance(row, Mapping) else None
    if not isinstance(text, str):
        raise BadInput(f"{where} has no `text`; give one object with `text` a line")
    subjects = row.get("subjects") or []
    if not isinstance(subjects, list) or not all(isinstance(name, str) for name in subjects):
        raise BadInput(f"{where}: `subjects` must be a list of names")
    yield from _whole(str(row.get("id") or label), text, tuple(subjects))


def _whole(label: str, text: str, subjects: tuple[str, ...] = ()) -> Iterator[Document]:
    if text.strip():
        yield Document(label, text, subjects)


def _text(file: Path) -> str:
    _check_length(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text; save it as UTF-8") from error
    if "\0" in text:
        raise BadInput(f"{file} is not text but bytes; give text, or a PDF")
    return text


def _check_length(file: Path) -> None:
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise BadInput(
            f"{file} has {size / 1e6:.0f} MB and a document at most {MOST_BYTES >> 20} MiB; split it into several, "
            "or give JSON Lines with a part a line"
        )


class _Words(HTMLParser):
    """Collects the text of a page, a line for each block, without scripts and styles."""

    _SILENT = frozenset({"script", "style", "template", "noscript"})
    _INLINE = frozenset({"a", "abbr", "b", "code", "em", "i", "mark", "small", "span", "strong", "sub", "sup", "u"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in self._SILENT
        if tag not in self._INLINE:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in self._SILENT))
        if tag not in self._INLINE:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


_READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    **dict.fromkeys((".txt", ".md", ".markdown"), _plain),
    **dict.fromkeys((".html", ".htm"), _html),
    ".pdf": _pdf,
    ".jsonl": _lines,
}
