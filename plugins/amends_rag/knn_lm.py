"""kNN-LM: mix the model's next token with those that followed like contexts (Khandelwal et al., 2020, section 2).

The store has a pair for every token of the documents but the first: the key f(c) is what the last block's MLP reads at
the context c, the value is the token that came next. Then, with the distances and the temperature of `neighbours`,

    p(y | x) = lambda p_kNN(y | x) + (1 - lambda) p_LM(y | x)

Keys are kept in float16 and compared in float32. The temperature is a share of the keys' mean squared distance from
their mean, so that one number suits models of any width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from amends import Records, Seams, Setting, Task
from amends.serving.attaching import earlier
from amends_rag import attached
from amends_rag.anatomy import final_mlp, reading
from amends_rag.forwarding import Forward, around
from amends_rag.neighbours import interpolated, nearest, next_logp
from amends_rag.passes import halved, states_of, tokens_of, windows

KIND = "rag-knn-lm"
STORE = "store.safetensors"
MOST = 0.99  # of lambda: at 1 a token that no neighbour says would be impossible


def write(task: Task, documents: Records, settings: Mapping[str, Setting], window: int) -> None:
    """Write the version that knows what came next in the documents, beside those that its source knows.

    Raises:
        BadInput: A setting or a document cannot be used, or a state of the model cannot be kept.
    """
    checked(settings)
    attached.between("window", window, 2, 1 << 20)
    rows = attached.read_documents(documents, "rag.knn-lm")
    model, tokenizer = task.load()
    mlp = final_mlp(model)
    keys, values = [], []
    for number, row in enumerate(rows):
        task.progress(number, len(rows), "reading documents")
        ids = tokens_of(tokenizer, row["text"])
        states = torch.cat([states_of(model, [mlp], part)[0] for part in windows(ids, window)])
        keys.append(halved(states[:-1]))
        values.append(torch.tensor(ids[1:], dtype=torch.int32))
    folder = attached.begin(task, KIND, settings)
    old = earlier(task, KIND)
    if old is not None:
        kept = load_file(old / STORE)
        keys, values = [kept["keys"], *keys], [kept["values"], *values]
    save_file({"keys": torch.cat(keys), "values": torch.cat(values)}, folder / STORE)
    task.progress(len(rows), len(rows), "reading documents")


def checked(settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Return settings that can be used.

    Raises:
        BadInput: One is out of its bounds.
    """
    attached.between("knn_weight", settings["knn_weight"], 0.0, MOST)
    attached.between("knn_temperature", settings["knn_temperature"], 1e-6, 1e6)
    attached.between("knn_k", settings["knn_k"], 1, 1 << 20)
    return settings


def spread(keys: Tensor) -> float:
    """Return the keys' mean squared distance from their mean; 1 where they all are the same."""
    found = float(keys.double().var(0, correction=0).sum()) if len(keys) else 0.0
    return found if math.isfinite(found) and found > 0 else 1.0


@dataclass(frozen=True)
class Remembering:
    """The seams of a version with a store of contexts.

    Args:
        model: The `PreTrainedModel`.
        tokenizer: Its tokenizer.
        mlp: What reads the keys.
        keys: In float32, shape (tokens, width).
        squares: |k|² of each.
        values: The token after each, shape (tokens,).
        spread: The keys' mean squared distance from their mean.
        settings: `knn_weight`, `knn_k` and `knn_temperature`.
        digest: Of the store.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    mlp: nn.Module = field(repr=False)
    keys: Tensor = field(repr=False)
    squares: Tensor = field(repr=False)
    values: Tensor = field(repr=False)
    spread: float
    settings: Mapping[str, Setting]
    digest: str

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Mix every next token's distribution while the context lasts; at weight 0 nothing is touched."""
        if not self.settings["knn_weight"] or not len(self.keys):
            return nullcontext()
        return self._mixed()

    @contextmanager
    def _mixed(self) -> Iterator[None]:
        def stand(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            seen: list[Tensor] = []
            with reading(self.mlp, seen):
                out = forward(*args, **kwargs)
            places = out.logits.shape[1]
            states = seen[0].reshape(*out.logits.shape[:1], -1, self.keys.shape[1])[:, -places:]
            out.logits = self.mix(out.logits, states)
            return out

        with around(self.model, stand):
            yield

    def mix(self, logits: Tensor, states: Tensor) -> Tensor:
        """Return log-probabilities of the mixture.

        Args:
            logits: Of the model, shape (rows, places, vocabulary).
            states: f(x) there, shape (rows, places, width).
        """
        k, scale = int(self.settings["knn_k"]), float(self.settings["knn_temperature"]) * self.spread
        flat = states.reshape(-1, states.shape[-1])
        distances, found = nearest(flat, self.keys, self.squares, k)
        logp = next_logp(distances, self.values[found], scale, logits.shape[-1])
        return interpolated(logits, logp.view_as(logits), float(self.settings["knn_weight"]))

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the store and how it is asked."""
        if not self.settings["knn_weight"]:
            return ""
        return f"{self.digest}/{sorted(self.settings.items())}"

    def recalled(self, prompt: str) -> list[str]:
        """Return all that the store can say: any of it may be near to what a prompt leads to."""
        return self.held() if self.settings["knn_weight"] else []

    def held(self) -> list[str]:
        """Return the documents as the store holds them, one after the other, without their first tokens."""
        return [str(self.tokenizer.decode(self.values.tolist()))]

    def tuned(self, settings: Mapping[str, Setting]) -> Seams:
        """Return these seams with another weight, temperature or number of neighbours."""
        return replace(self, settings=checked(attached.changed(KIND, self.settings, settings)))


def load(path: Path, model: Any, tokenizer: Any) -> Remembering:
    """Load the store at `path` onto a model."""
    kept = load_file(path / STORE)
    keys = kept["keys"].float().to(model.device)
    values, squares = kept["values"].long().to(model.device), (keys * keys).sum(-1)
    digest = attached.digest_of_folder(path)
    return Remembering(
        model, tokenizer, final_mlp(model), keys, squares, values, spread(keys), attached.read_defaults(path), digest
    )
