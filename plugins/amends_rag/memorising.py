"""Make a memory of documents at one layer, and learn how far each head shall look into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amends import AmendsError, BadInput, Records, Task
from amends.serving.attaching import earlier
from amends_rag import attached
from amends_rag.anatomy import Attention, attention_of, blocks_of, hearing
from amends_rag.memory import KIND, STORE, Memory, looking
from amends_rag.passes import Window, halved, tokens_of, windows

DEPTH = 2 / 3  # of the blocks, after the paper, which looks in one late layer
BEGINS = -3.0  # of a gate's logit: a twentieth


@dataclass(frozen=True)
class Settings:
    """How a memory is made.

    Args:
        layer: Index of the block; None is two thirds up.
        gate: What every head's gate is; the beginning of the learning where there is any.
        k: How many memories a head attends to.
        steps: Windows to learn the gates on; 0 leaves them as they are.
        lr: Of Adam, on the gates' logits.
        window: Tokens that are run at once.
    """

    layer: int | None
    gate: float
    k: int
    steps: int
    lr: float
    window: int


@dataclass(frozen=True, repr=False)
class Document:
    """A document's windows, and where its memories lie among all."""

    windows: list[Window]
    own: slice


def write(task: Task, documents: Records, settings: Settings) -> None:
    """Write the version that remembers the documents, beside those that its source remembers.

    Raises:
        BadInput: A setting or a document cannot be used, or a state of the model cannot be kept.
        AmendsError: A gate became NaN.
    """
    attached.between("gate", settings.gate, 0.0, 1.0)
    attached.between("window", settings.window, 2, 1 << 20)
    rows = attached.read_documents(documents, "rag.memory")
    model, tokenizer = task.load()
    model.requires_grad_(False)
    layer = _layer_of(task, model, settings.layer)
    attention = attention_of(model, layer)
    old = earlier(task, KIND)
    kept = load_file(old / STORE) if old is not None else {}
    total, read, parts = len(rows) + settings.steps, [], [kept] if kept else []
    begin = kept["keys"].shape[1] if kept else 0
    for number, row in enumerate(rows):
        task.progress(number, total, "reading documents")
        cut = list(windows(tokens_of(tokenizer, row["text"]), settings.window))
        parts.append(remember(model, attention, cut))
        end = begin + parts[-1]["keys"].shape[1]
        read.append(Document(cut, slice(begin, end)))
        begin = end
    store = {name: torch.cat([part[name] for part in parts], dim=1) for name in ("keys", "values")}
    memory = Memory(store["keys"].float(), store["values"].float())
    gates = torch.full((attention.heads,), settings.gate)
    if settings.steps:
        gates = learn(task, model, attention, memory, read, settings, len(rows))
    folder = attached.begin(task, KIND, {"memory_gate": 1.0, "memory_k": settings.k})
    save_file({**store, "gates": gates}, folder / STORE)
    attached.write_data(folder, {"layer": layer})
    task.progress(total, total, "reading documents")


def _layer_of(task: Task, model: Any, layer: int | None) -> int:
    old = earlier(task, KIND)
    if old is None:
        return int(DEPTH * len(blocks_of(model))) if layer is None else layer
    found = int(attached.read_data(old)["layer"])
    if layer not in (None, found):
        raise BadInput(f"the source's memory is at layer {found}; leave layer out, or give that one")
    return found


@torch.no_grad()
def remember(model: Any, attention: Attention, cut: list[Window]) -> dict[str, Tensor]:
    """Return the keys and values of a document's tokens, in float16, shape (groups, tokens, size) each."""
    found: dict[str, list[Tensor]] = {"keys": [], "values": []}
    for window in cut:
        keys: list[Tensor] = []
        values: list[Tensor] = []
        with hearing(attention.key, keys), hearing(attention.value, values):
            model(input_ids=torch.tensor([window.ids], device=model.device), use_cache=False)
        for name, seen in (("keys", keys[0]), ("values", values[0])):
            states = seen.reshape(len(window.ids), -1, attention.size)[window.fresh :]
            found[name].append(halved(states.transpose(0, 1)).cpu())
    return {name: torch.cat(parts, dim=1).contiguous() for name, parts in found.items()}


def learn(
    task: Task, model: Any, attention: Attention, memory: Memory, read: list[Document], settings: Settings, done: int
) -> Tensor:
    """Return gates that make the documents likelier, each looking into the others alone, shape (heads,).

    Raises:
        BadInput: There is one document: it has no others to look into.
        AmendsError: A gate became NaN.
    """
    if len(read) < 2:
        raise BadInput("gates are learnt by each document looking into the others; give two or more, or steps=0")
    order = torch.Generator().manual_seed(task.seed)
    logits = torch.full((attention.heads,), BEGINS, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=settings.lr)
    for step in range(settings.steps):
        task.progress(done + step, done + settings.steps, "learning the gates")
        document = read[int(torch.randint(len(read), (1,), generator=order))]
        window = document.windows[int(torch.randint(len(document.windows), (1,), generator=order))]
        ids = torch.tensor([window.ids], device=model.device)
        with torch.enable_grad(), looking(attention, memory, logits.sigmoid(), settings.k, document.own):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        (logits.grad,) = torch.autograd.grad(loss, logits)
        adam.step()
        if not bool(logits.isfinite().all()):
            raise AmendsError("a gate became NaN; take a smaller lr")
    return logits.detach().sigmoid()
