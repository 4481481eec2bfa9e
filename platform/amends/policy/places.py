"""Where something stands in a policy's file: lines and columns of YAML nodes, and inside the texts that they fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import yaml


class Place(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


START = Place(1, 1)


@dataclass(frozen=True)
class Tree:
    """A YAML document whose nodes know where they stand."""

    text: str
    root: yaml.Node | None

    @classmethod
    def read(cls, text: str) -> Tree:
        """Read a document that is known to be sound YAML."""
        return cls(text, yaml.compose(text, yaml.SafeLoader))

    def mapping(self, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the keys and values below a key of the document, by name."""
        return entries(entries(self.root).get(key, (None, None))[1])

    def items(self, key: str) -> list[yaml.Node]:
        """Return the items of the list below a key of the document."""
        found = entries(self.root).get(key, (None, None))[1]
        return list(found.value) if isinstance(found, yaml.SequenceNode) else []

    def section(self, key: str) -> tuple[Tree, ...]:
        """Return the mapping below a key as a document of its own, which stands where it stands; or nothing."""
        found = entries(self.root).get(key, (None, None))[1]
        return (Tree(self.text, found),) if isinstance(found, yaml.MappingNode) else ()

    def inside(self, node: yaml.Node, offset: int) -> Place:
        """Return where a letter of a text stands in the file, whichever way YAML folded or quoted the text.

        Letters are followed one by one; blanks, line breaks and quotation marks of the file are passed over.
        """
        position = node.start_mark.index
        if isinstance(node, yaml.ScalarNode):
            position += len(_head(self.text[position:], node.style))
            for letter in node.value[: offset + 1].rstrip():
                if letter.isspace():
                    continue
                position = self.text.find(letter, position, node.end_mark.index) + 1 or position
            position = max(position - 1, node.start_mark.index)
        before = self.text[:position]
        return Place(before.count("\n") + 1, position - before.rfind("\n"))


def entries(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return a mapping's key and value nodes by name; nothing where it is no mapping."""
    return {key.value: (key, value) for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def place_of(node: yaml.Node) -> Place:
    """Return where a node begins."""
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _head(raw: str, style: str | None) -> str:
    """Return what stands before the first letter of a text: the line of its `>` or `|`, or its quotation mark."""
    if style in ("|", ">"):
        return raw[: raw.find("\n") + 1]
    return raw[:1] if style in ("'", '"') else ""
