"""Draw what the lens shows: as a drawing, or as a page with the drawing and all that is in it as tables."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from amends import BadInput
from amends.governor.proof.drawing import frame
from amends_distillation.transfer.lensing import Layer, Tokens, Vector
from amends_distillation.transfer.seeing import HIDDEN, Seen

SHOWN = 6  # tokens of a vector that are drawn; the page has them all
ROW, HEAD, GAP = 20, 26, 16  # heights, in SVG units
LABEL, SIDE = 130, 315  # widths of the names on the left, and of each of two columns
PAGE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1c2530;background:#fff;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse;margin:1rem 0;width:100%}caption{text-align:left;font-weight:600}"
    "th,td{border:1px solid #6f7b87;padding:.25rem .5rem;text-align:left;vertical-align:top}"
    "code{font:14px ui-monospace,monospace;background:#eef1f4;padding:0 .2em}svg{max-width:100%;height:auto}"
)


def write(seen: Seen, file: Path) -> Path:
    """Write a picture: a drawing where the file's name ends in .svg, a page where it ends in .html.

    Raises:
        BadInput: It ends otherwise, or cannot be written.
    """
    made = {".svg": svg, ".html": page}.get(file.suffix)
    if made is None:
        raise BadInput(f"{file.name} ends neither in .svg nor in .html; name the picture so")
    try:
        file.write_text(made(seen), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}); name another place with --output") from None
    return file


def svg(seen: Seen) -> str:
    """Return the drawing: for each vector its tokens in two columns, and a bar as long as each one's cosine."""
    parts: list[str] = []
    top = 0.0
    for layer in seen.layers:
        parts.append(_text(0, top + 18, _heading(seen, layer)))
        top += HEAD
        for vector in layer.vectors:
            parts += _drawn(seen, vector, top)
            top += ROW * (1 + (SHOWN if seen.with_tokens else 0)) + GAP
    return frame("lens", _title(seen), _described(seen), max(top, HEAD), parts) + "\n"


def _drawn(seen: Seen, vector: Vector, top: float) -> Iterator[str]:
    yield _text(0, top + 15, f"{vector.kind} {vector.number}")
    yield _text(LABEL, top + 15, _sides(seen, vector)[0], "s")
    yield _text(LABEL + SIDE, top + 15, _sides(seen, vector)[1], "s")
    if not seen.with_tokens:
        return
    yield _text(0, top + ROW + 15, f"{vector.share:.1%} of the change" if seen.against else "", "s")
    longest = max((abs(cosine) for side in (vector.towards, vector.away) for _, cosine in side), default=0.0)
    for column, side in enumerate((vector.towards, vector.away)):
        for place, (token, cosine) in enumerate(side[:SHOWN]):
            x, y = LABEL + column * SIDE, top + ROW * (place + 1)
            width = 90 * abs(cosine) / longest if longest else 0
            yield f'<rect class="g" x="{x}" y="{y + 5:g}" width="{width:.1f}" height="10"/>'
            yield _text(x + 98, y + 15, f"{token[:20]}  {cosine:+.2f}")


def page(seen: Seen) -> str:
    """Return the page: no script, nothing fetched, everything escaped; what is drawn also stands in tables."""
    tables = "".join(_table(seen, layer) for layer in seen.layers) or "<p>No layer's value vectors differ.</p>"
    told = "" if seen.with_tokens else f"<p>{escape(HIDDEN.capitalize())}.</p>"
    more = f"<p>{seen.others} more layers changed.</p>" if seen.others else ""
    title = escape(_title(seen))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{PAGE}</style></head><body><main><h1>{title}</h1>'
        f"<p>{escape(_described(seen))}</p>{told}{svg(seen)}{tables}{more}</main></body></html>\n"
    )


def _table(seen: Seen, layer: Layer) -> str:
    heads = ("Vector", "Share of the change", "Cosine with before", "Makes likelier", "Before, or at the other end")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(f"<tr>{_row(seen, vector)}</tr>" for vector in layer.vectors)
    caption = escape(_heading(seen, layer))
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(seen: Seen, vector: Vector) -> str:
    cells = [f"{vector.share:.1%}" if seen.against else "–"]
    cells.append("–" if vector.cosine is None else f"{vector.cosine:.3f}")
    cells += [_listed(side) if seen.with_tokens else "not shown" for side in (vector.towards, vector.away)]
    name = f'<th scope="row">{vector.kind} {vector.number}</th>'
    return name + "".join(f"<td>{cell}</td>" for cell in cells)


def _listed(side: Tokens) -> str:
    return " ".join(f"<code>{escape(token)}</code>" for token, _ in side) or "–"


def _title(seen: Seen) -> str:
    return f"What {seen.version} writes" + (f", beside {seen.against}" if seen.against else "")


def _heading(seen: Seen, layer: Layer) -> str:
    return f"Layer {layer.number}" + (f": changed by {layer.change:.2%} of its length" if seen.against else "")


def _sides(seen: Seen, vector: Vector) -> tuple[str, str]:
    if vector.kind == "direction":
        return "makes likelier", "at the other end"
    return ("makes likelier, after", "made likelier, before") if seen.against else ("makes likelier", "")


def _described(seen: Seen) -> str:
    """Say what there is to see, for whoever does not see it."""
    if not seen.layers:
        return "No layer's value vectors differ."
    told = []
    for layer in seen.layers:
        first = next(iter(layer.vectors), None)
        tokens = ", ".join(token for token, _ in first.towards[:3]) if first is not None and seen.with_tokens else ""
        what = "" if first is None else f": {first.kind} {first.number}"
        told.append(f"Layer {layer.number}{what}" + (f" makes {tokens} likelier." if tokens else "."))
    return " ".join(told)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    shape = f' class="{kind}"' if kind else ""
    return f'<text{shape} x="{x:g}" y="{y:g}">{escape(text)}</text>'
