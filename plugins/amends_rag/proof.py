"""Show that a person is in no file of an index: each kind of file is searched for somebody who is there as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lance.file import LanceFileReader

from amends import BadInput, DataSubject, Disclosure
from amends.governor.scan.needles import Needles, build_needles
from amends.governor.scan.planting import planted
from amends.governor.scan.report import Claim
from amends.governor.scan.scanning import NAMES, scan
from amends.governor.workspace import Workspace
from amends.records import canonical_json
from amends.vault.identifiers import forms
from amends_rag.lexical import Lexical
from amends_rag.live import LiveIndex
from amends_rag.people import names_of
from amends_rag.snapshot import TERMS, read_lexical
from amends_rag.sought import Sought

FILE = "proof.json"
CONTROLS = 3
PLANTED = Disclosure(DataSubject("planted"), {"text": ("words that were planted as a control",)})
_TEXT = ["id", "document", "text", "subjects"]
_LANCE = ".lance"


@dataclass(frozen=True)
class Kind:
    """One kind of file: how much of it was searched, and what its silence is worth."""

    kind: str
    files: int
    bytes: int
    hits: int
    controls_seen: int
    claim: Claim


@dataclass(frozen=True)
class Proof:
    """What a search of every file of an index found; holds nothing of anybody."""

    kinds: tuple[Kind, ...]
    controls: int
    left: int = field(default=0)

    def row(self) -> dict[str, Any]:
        """Return the proof as a JSON object."""
        return asdict(self)


def prove(
    workspace: Workspace, index: LiveIndex, disclosure: Disclosure, sought: Sought, erased: Sequence[str] = ()
) -> Proof:
    """Search every file of an index for a person, and for living ones beside them.

    The table's files are read through LanceDB's own reader, since their bytes are compressed; the list of terms is read
    as one, since it holds single words; everything else is searched as bytes, with a planted control of its kind.

    Args:
        workspace: Whose index.
        index: The index, as it is now.
        disclosure: The person.
        sought: The same, prepared.
        erased: The passages that have just gone, as far as they are known.
    """
    living = list(_living(workspace, index, sought))
    kinds = [_table(index, sought, living), _terms(index, disclosure, living)]
    kinds += _bytes(index, disclosure, living, erased)
    bad = sum(
        bool(kind.hits) or (kind.kind != NAMES and kind.claim is not Claim.ABSENT) for kind in kinds if kind.files
    )
    return Proof(tuple(kinds), len(living), bad)


def write_proof(directory: Path, proof: Proof) -> None:
    """Keep the last proof beside the index."""
    (directory / FILE).write_bytes(canonical_json(proof.row()) + b"\n")


def _living(workspace: Workspace, index: LiveIndex, sought: Sought) -> Iterator[Disclosure]:
    """Yield a few people whom the index names, or else words of passages that stay."""
    wanted = {who for passage in index.rows.passages for who in passage.subjects} - sought.pseudonyms
    found = 0
    for who, name in names_of(workspace, index, wanted):
        one = Disclosure(DataSubject(who), {"name": (name,)})
        if any(Sought(one).named_in(passage.text) for passage in index.rows.passages if who in passage.subjects):
            yield one
            found += 1
            if found == CONTROLS:
                return
    if not found and index.rows.passages:
        yield Disclosure(DataSubject("kept"), {"text": (" ".join(index.rows.passages[0].text.split()[:4]),)})


def _table(index: LiveIndex, sought: Sought, living: Sequence[Disclosure]) -> Kind:
    controls = [Sought(one) for one in living]
    seen: set[int] = set()
    files = size = hits = 0
    root = index.table.files
    for file in sorted(root.rglob(f"*{_LANCE}")) if root else ():
        files, size = files + 1, size + file.stat().st_size
        for text in _rows(file):
            hits += sought.named_in(text) or any(who in text for who in sought.pseudonyms)
            seen |= {number for number, one in enumerate(controls) if number not in seen and one.named_in(text)}
    if root is None:  # an object store: what it keeps of deleted files cannot be seen from here
        return Kind("lance", 1, 0, hits, 0, Claim.BLIND)
    return Kind("lance", files, size, hits, len(seen), _claim(hits, len(seen)))


def _rows(file: Path) -> Iterator[str]:
    """Yield the words of each row of a data file, deleted rows too."""
    reader = LanceFileReader(str(file.absolute()), columns=_TEXT)
    for batch in reader.read_all().to_batches():
        for row in batch.to_pylist():
            yield f"{row['id']}\n{row['document']}\n{row['text']}\n{' '.join(row['subjects'] or ())}"


def _terms(index: LiveIndex, disclosure: Disclosure, living: Sequence[Disclosure]) -> Kind:
    """Search the terms as they lie on the disk for words that no passage has any more."""
    file = index.directory / TERMS
    kept = read_lexical(index.directory, index.card.settings.words)
    vocabulary = set(kept.vocabulary)
    hits = sum(not _is_said(index, kept, term) for term in _words(index, disclosure) & vocabulary)
    seen = sum(bool(_words(index, one) & vocabulary) for one in living)
    claim = _claim(hits, seen) if vocabulary else Claim.ABSENT
    return Kind("terms", 1, file.stat().st_size, hits, seen, claim)


def _is_said(index: LiveIndex, kept: Lexical, term: str) -> bool:
    """Whether one of the passages that a term is said to be in really has it."""
    texts = (index.rows.passages[place].text for place in kept.having(term))
    return any(term in index.card.settings.words.terms(text) for text in texts)


def _words(index: LiveIndex, disclosure: Disclosure) -> set[str]:
    values = disclosure.identifiers.items()
    texts = {text for kind, some in values for value in some for text in (value, *forms(kind, value))}
    return {term for text in texts for term in index.card.settings.words.terms(text)}


def _bytes(
    index: LiveIndex, disclosure: Disclosure, living: Sequence[Disclosure], erased: Iterable[str]
) -> Iterator[Kind]:
    """Search everything else as bytes."""
    kept = [{"prompt": passage.text, "answer": ""} for passage in index.rows.passages]
    gone = [{"prompt": text, "answer": ""} for text in erased]
    needles = build_needles(disclosure, gone, kept)
    controls = [build_needles(one, (), ()) for one in living or (PLANTED,)]
    if needles.items:  # what a kept passage says as well tells nothing
        yield from _scanned(index, needles, controls)


def _scanned(index: LiveIndex, needles: Needles, controls: Sequence[Needles]) -> Iterator[Kind]:
    with planted(index.directory / "controls", controls) as directory:
        roots = {str(number): file for number, file in enumerate(_files(index)) if directory not in file.parents}
        roots[directory.name] = directory
        report = scan(roots, needles, controls, place_key=b"index")
    if report.unreadable:
        raise BadInput(f"{len(report.unreadable)} files of the index {index.name!r} cannot be read; mend them first")
    for kind in report.kinds:
        if kind.files:
            yield Kind(kind.kind, kind.files, kind.bytes, kind.hits, kind.controls_seen, kind.claim)


def _files(index: LiveIndex) -> list[Path]:
    """Return every file of an index but the table's data, wherever the table lies."""
    places = {index.directory, index.table.files or index.directory}
    found = {file for place in places for file in place.rglob("*") if file.is_file() and file.suffix != _LANCE}
    return sorted(found)


def _claim(hits: int, seen: int) -> Claim:
    return Claim.FOUND if hits else Claim.ABSENT if seen else Claim.NO_CONTROL
