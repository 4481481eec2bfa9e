"""What the drawings of a page share: one style, and a frame that says in words what is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

WIDTH = 760  # of every drawing, in SVG units
SHADES = {"deny": "#f6dcd8", "warn": "#f8edcf", "margin": "#dcebec", "reference": "#dde2e8"}
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2530}.s{font-size:11px;fill:#56616d}.e{text-anchor:end}"
    ".i{text-anchor:middle}.t{stroke:#c9d0d6}.b{stroke:#6f7b87;fill:#fff;stroke-width:2}"
    ".a{stroke:#0b5d66;fill:#0b5d66;stroke-width:2}.n{stroke:#a33a2a;fill:#fff;stroke-width:2}"
    ".o{stroke:#8a6508;fill:#fff;stroke-width:2}.l{stroke:#a33a2a;stroke-width:1.5}"
    ".w{stroke:#8a6508;stroke-width:1.5;stroke-dasharray:4 2}.c{stroke:#c9d0d6;stroke-dasharray:2 3}"
    ".z{stroke:#1c2530;stroke-width:1}.k{stroke:#6f7b87;fill:#fff}.g{stroke:#0b5d66;fill:#dcebec;stroke-width:2}"
    ".f{stroke:#6f7b87;fill:none;stroke-width:1.5}"
)
"""Inline, it holds for the whole page: so every drawing has the same one, and no class means two things."""


def frame(name: str, title: str, description: str, height: float, parts: Iterable[str]) -> str:
    """Return a drawing that is read out as its title and description.

    Args:
        name: Told apart from the other drawings of a page.
        title: What is drawn.
        description: What there is to see, for whoever does not see it.
        height: In SVG units.
        parts: Elements, as SVG.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc><style>{STYLE}</style>{"".join(parts)}</svg>'
    )
