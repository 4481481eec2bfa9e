"""`amends rag`: indexes of documents that models are grounded in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group

if TYPE_CHECKING:
    from amends_rag.fusion import How

rag = group("rag", "Ground a model in documents.")
index = group("index", "Make indexes of documents, search them, and see what they hold.")
rag.add_command(index)
ANY = click.Path(path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
DOCUMENTS = click.option(
    "--documents", multiple=True, required=True, type=ANY, metavar="PATH",
    help="A file or a folder: .txt, .md, .html, .pdf, .jsonl. Repeatable.",
)  # fmt: skip
DROP = click.option("--drop-suppressed", is_flag=True, help="Leave out passages that name somebody who was erased.")
COLUMNS = ("index", "version", "passages", "documents", "people", "encoder")


def add_rag(cli: click.Group) -> None:
    """Add `rag` to the root."""
    cli.add_command(rag)


@index.verb("build", example="amends rag index build handbook --documents handbook/ --documents faq.jsonl")
@click.argument("name")
@DOCUMENTS
@click.option("--tokens", type=int, default=128, show_default=True, help="The most tokens of a passage.")
@click.option("--overlap", type=int, default=32, show_default=True, help="Tokens that the next passage begins with.")
@click.option("--encoder", type=DIRECTORY, metavar="DIR", help="A sentence encoder; by default all-MiniLM-L6-v2.")
@click.option(
    "--fusion", type=click.Choice(["zscore", "rrf", "dense", "lexical"]), default="zscore", show_default=True,
    help="How words and meaning become one ranking.",
)  # fmt: skip
@click.option("--uri", default="", metavar="URI", help="Where LanceDB keeps the table; by default in the workspace.")
@DROP
def build(
    screen: Screen,
    name: str,
    documents: tuple[Path, ...],
    tokens: int,
    overlap: int,
    encoder: Path | None,
    fusion: How,
    uri: str,
    drop_suppressed: bool,
) -> None:
    """Cut documents into passages, register whose they are, embed them, and keep them to be searched.

    A line of JSON Lines is {"id": …, "text": …, "subjects": ["Ada Quill"]}. A build that was killed goes on with what
    it has embedded when it is called again.
    """
    from amends_rag.building import build_index
    from amends_rag.chunking import Cut
    from amends_rag.fusion import Fusion

    with screen.workspace() as workspace:
        made = build_index(
            workspace, name, documents, encoder=encoder, cut=Cut(tokens, overlap),
            fusion=Fusion(fusion), uri=uri, drop_suppressed=drop_suppressed,
        )  # fmt: skip
    screen.show(made, *_told(made))


@index.verb("add", example="amends rag index add handbook --documents news.md")
@click.argument("name")
@DOCUMENTS
@DROP
def add(screen: Screen, name: str, documents: tuple[Path, ...], drop_suppressed: bool) -> None:
    """Add documents to an index.

    A document of a name that is there already takes its place: what it still says is left as it is, what it no longer
    says is erased from the index.
    """
    from amends_rag.building import add_documents

    with screen.workspace() as workspace:
        made = add_documents(workspace, name, documents, drop_suppressed=drop_suppressed)
    screen.show(made, *_told(made))


@index.verb("search", example='amends rag index search handbook "How many days of leave are there?" -k 3')
@click.argument("name")
@click.argument("query")
@click.option("-k", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many passages.")
@click.option("--rerank", type=DIRECTORY, metavar="DIR", help="A cross-encoder that ranks the best passages again.")
@click.option(
    "--candidates", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many of them --rerank reads."
)
def search(screen: Screen, name: str, query: str, k: int, rerank: Path | None, candidates: int) -> None:
    """Show the passages that fit a question best."""
    from amends_rag import workflow

    with screen.workspace() as workspace:
        hits = workflow.search(workspace, name, query, k, rerank, candidates)
    found = [
        {"id": hit.passage.id, "text": hit.passage.text, "score": hit.score, "dense": hit.dense, "lexical": hit.lexical}
        for hit in hits
    ]
    rows = [(hit.passage.id, round(hit.score, 3), hit.passage.text) for hit in hits]
    screen.show(found, Table(("passage", "score", "text"), rows, "the index is empty"))


@index.verb("stats", example="amends rag index stats handbook")
@click.argument("name")
def stats(screen: Screen, name: str) -> None:
    """Show what an index holds and what it was made with."""
    from amends_rag import workflow

    with screen.workspace() as workspace:
        found = workflow.stats(workspace, name)
    screen.show(
        found,
        f"{name}@{found['version']} is {found['manifest']}",
        f"{found['count']} passages of {found['documents']} documents, about {found['people']} known people",
        f"{found['terms']} terms, {found['sentences']} vectors of sentences, {found['bytes'] / 1e6:.1f} MB in files",
        f"encoder: {found['encoder']['name']} ({found['encoder']['digest'][:12]})",
        f"registered as: {', '.join(digest[:12] for digest in found['sources']) or 'nothing'}",
        f"erased: {found['erased']} passages, which never come back",
    )


@index.verb("list", example="amends rag index list")
def list_them(screen: Screen) -> None:
    """List the indexes of the workspace."""
    from amends_rag import workflow

    with screen.workspace() as workspace:
        found = workflow.list_indexes(workspace)
    rows = [
        (one["name"], one["version"], one["count"], one["documents"], one["people"], one["encoder"]["name"])
        for one in found
    ]
    screen.show(found, Table(COLUMNS, rows, "there is no index yet; see amends rag index build --help"))


def _told(made: object) -> list[str]:
    """Return what an addition did, for people."""
    told = vars(made)
    return [
        f"{told['name']}@{told['version']} has {told['passages']} passages; its digest is {told['manifest'][:12]}",
        f"{told['added']} are new, of {told['documents']} documents; {told['known']} were there already, "
        f"{told['dropped']} name somebody who was erased and were left out",
        *([f"{told['fallen']} fell away: their documents no longer say them"] if told["fallen"] else []),
        *([f"{told['replaced']} are about other people now, as their documents say"] if told["replaced"] else []),
    ]
