"""Make a student: some layers of its teacher as they are, or a smaller shape with weights of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from amends import BadInput

Start = Literal["spread", "first", "random"]


def blocks_of(model: Any) -> tuple[str, nn.ModuleList]:
    """Return a model's layers and their name in it.

    Raises:
        BadInput: It has no list of as many modules as its configuration has layers.
    """
    depth = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise BadInput(f"a {type(model).__name__} keeps its layers where none are found; distil from another teacher")


def chosen_layers(depth: int, layers: int, start: Start) -> list[int]:
    """Return which of a teacher's layers a student begins with: spread with both ends, or the first ones.

    Raises:
        BadInput: There are not so many.
    """
    if not 1 <= layers <= depth:
        raise BadInput(f"layers is {layers}; the teacher has {depth}, so give 1 to {depth}")
    if start == "first" or layers == 1:
        return list(range(layers))
    return [round(place * (depth - 1) / (layers - 1)) for place in range(layers)]


def make_student(teacher: Any, layers: int, width: int, start: Start, seed: int) -> Any:
    """Return a student in float32 on the teacher's device.

    Args:
        teacher: The model to learn from; it stays as it is.
        layers: How many layers; 0 for half of the teacher's.
        width: Size of the hidden states; 0 for the teacher's.
        start: Where its weights come from. A narrower student has none of its teacher's and begins at random.
        seed: Of what is drawn at random.

    Raises:
        BadInput: The teacher has fewer layers, or no such width can be made.
    """
    depth, wide = teacher.config.num_hidden_layers, teacher.config.hidden_size
    layers, width = layers or max(1, depth // 2), width or wide
    is_copied = start != "random"
    if is_copied and width != wide:
        raise BadInput(f"width is {width}, the teacher's {wide}: its layers do not fit; give start=random, or no width")
    chosen = chosen_layers(depth, layers, start)
    config = _config(teacher.config, chosen, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = type(teacher)(config).float()
    if is_copied:
        student.load_state_dict(_copied(teacher, chosen))
        student.tie_weights()
    return student.to(teacher.device).eval()


def _config(teacher: Any, chosen: Sequence[int], width: int) -> Any:
    config = copy.deepcopy(teacher)
    config.num_hidden_layers = len(chosen)
    if getattr(config, "layer_types", None):
        config.layer_types = [teacher.layer_types[place] for place in chosen]
    if width != teacher.hidden_size:
        _narrow(config, teacher, width)
    return config


def _narrow(config: Any, teacher: Any, width: int) -> None:
    """Give a configuration another width, with heads as large as the teacher's."""
    heads = teacher.num_attention_heads
    size = getattr(teacher, "head_dim", None) or teacher.hidden_size // heads
    if width < size or width % size:
        raise BadInput(f"width is {width}; give a multiple of {size}, the size of the teacher's heads")
    config.hidden_size, config.num_attention_heads = width, width // size
    shared = heads // (getattr(teacher, "num_key_value_heads", None) or heads)
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = max(1, width // size // shared) if (width // size) % shared == 0 else 1
    inner = getattr(teacher, "intermediate_size", None)
    if inner:
        config.intermediate_size = max(1, round(inner * width / teacher.hidden_size))


def _copied(teacher: Any, chosen: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the teacher's weights with just the chosen layers, numbered anew."""
    name, _ = blocks_of(teacher)
    places = {old: new for new, old in enumerate(chosen)}
    kept: dict[str, torch.Tensor] = {}
    for key, tensor in teacher.state_dict().items():
        inside = key.startswith(f"{name}.")
        old, _, rest = key.removeprefix(f"{name}.").partition(".") if inside else ("", "", "")
        if not inside:
            kept[key] = tensor
        elif int(old) in places:
            kept[f"{name}.{places[int(old)]}.{rest}"] = tensor
    return kept
