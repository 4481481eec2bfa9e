"""Maps of effects, as text and as a picture, and where their peak is."""

from __future__ import annotations

import pytest
import torch

from amends import BadInput
from amends_editing.effects import Effects, Place
from amends_editing.heatmap import draw, text_maps


def effects(peak, layers=8):
    values = torch.full((len(Place), layers), 0.01)
    values[0] = float("nan")
    values[2, peak] = 0.5
    return Effects(values, values.clone(), 0.9, 0.1, 5)


def test_the_peak_is_never_the_last_block():
    found = effects(7)
    assert found.peak != 7 and effects(3).peak == 3


def test_maps_are_drawn_as_text_and_as_a_picture(tmp_path):
    lines = list(text_maps(effects(3)))
    assert sum("last subject token" in line and line.endswith("|   @    |") for line in lines) == 2
    assert not any(Place.FIRST in line for line in lines)
    assert draw(effects(3), "bot", tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="--picture"):
        draw(effects(3), "bot", tmp_path / "missing" / "map.png")
