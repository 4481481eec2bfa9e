"""Draw where facts are carried: as a picture, and as text for the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amends import BadInput
from amends_editing.effects import Effects, Place

SHADES = " .:-=+*#%@"
MAPS = (("blocks", "one block's output put back"), ("mlps", "a window of MLP outputs put back"))


def text_maps(effects: Effects) -> Iterator[str]:
    """Yield both maps as lines: a row for each place of a token, a character for each layer."""
    widest = max(map(len, Place))
    for name, title in MAPS:
        values: Tensor = getattr(effects, name)
        strongest = _strongest(values)
        yield f"{title}; layers 0 to {values.shape[1] - 1}, darkest = {strongest:.3f} of probability"
        for place, row in zip(Place, values, strict=True):
            if not row.isnan().all():
                yield f"  {place:<{widest}} |{''.join(_shade(float(value), strongest) for value in row)}|"


def _strongest(values: Tensor) -> float:
    return float(values.nan_to_num(0.0).max().clamp(min=0.0))


def _shade(value: float, strongest: float) -> str:
    share = max(value, 0.0) / strongest if strongest > 0 else 0.0
    return SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]


def draw(effects: Effects, title: str, file: Path) -> Path:
    """Write both maps as a PNG.

    Args:
        effects: What was measured.
        title: What stands above them.
        file: Where to; its name ends in .png.

    Raises:
        BadInput: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 + 0.22 * effects.blocks.shape[1], 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (name, what) in zip(figure.subplots(2, 1, sharex=True), MAPS, strict=True):
        _panel(figure, axes, getattr(effects, name), what)
    try:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    except OSError:
        raise BadInput(f"the picture cannot be written to {file}; name another place with --picture") from None
    return file


def _panel(figure: Any, axes: Any, values: Tensor, title: str) -> None:
    strongest = max(_strongest(values), torch.finfo(torch.float32).tiny)
    shown = axes.imshow(values.numpy(), aspect="auto", cmap="Purples", vmin=0.0, vmax=strongest)
    axes.set_yticks(range(len(Place)), list(Place))
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("layer")
    figure.colorbar(shown, ax=axes, label="indirect effect")
