"""REPLUG: at each step the mean of the next token's probabilities over single-document prompts (Shi et al., 2023).

    p(y | x)  =  sum over d in D of  lambda(d, x) p_LM(y | d o x),   lambda = softmax over D of s(d, x) / T     (eq. 4)

d o x is the document before the prompt, and s the cosine of their sentence vectors, whatever chose the documents. The
weights are those of the scores, not uniform. Each document keeps
a cache of its own, so that a step costs one token for each of them and not the whole prompt again. With the weight w,

    p  =  (1 - w) p_LM(y | x)  +  w p(y | x)

and at w = 0 no pass is made at all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amends import AmendsError, Records, Seams, Setting, Task
from amends.serving.encoding import beginning
from amends_rag import attached
from amends_rag.chunking import Cut
from amends_rag.forwarding import Forward, around
from amends_rag.fusion import Fusion, How
from amends_rag.neighbours import interpolated
from amends_rag.passages import Finder, open_finder, write_index
from amends_rag.reranking import Reranker

KIND = "rag-replug"


def write(
    task: Task,
    documents: Records,
    settings: Mapping[str, Setting],
    fusion: How,
    cut: Cut,
    reranker: Reranker | None = None,
) -> None:
    """Write the version that answers after each of several passages, beside those that its source knows.

    Raises:
        BadInput: A setting or a document cannot be used.
    """
    write_index(task, documents, KIND, checked(settings), cut, Fusion(fusion), reranker)


def checked(settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Return settings that can be used.

    Raises:
        BadInput: One is out of its bounds.
    """
    attached.between("replug_k", settings["replug_k"], 1, 100)
    attached.between("replug_weight", settings["replug_weight"], 0.0, 1.0)
    attached.between("replug_temperature", settings["replug_temperature"], 1e-6, 1e6)
    return settings


def averaged(logits: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the log of the weighted mean of probabilities, shape (…, vocabulary).

    Args:
        logits: One tensor for each document, all of one shape (…, vocabulary).
        weights: Of the documents, summing to 1, shape (documents,).
    """
    logp = torch.stack([one.float().log_softmax(-1) for one in logits])
    return (logp + weights.log().view(-1, *[1] * (logp.dim() - 1))).logsumexp(0)


@dataclass
class Documents:
    """Passes of one prompt after each of several documents, each with its own cache."""

    prefixes: list[list[int]]
    begun: list[Any] = field(default_factory=list)
    caches: list[Any] = field(default_factory=list)

    def logits(self, forward: Forward, ids: Tensor, is_new: bool, **more: Any) -> list[Tensor]:
        """Return what follows these ids after each document.

        Args:
            forward: The model's pass.
            ids: The tokens that are new, shape (1, tokens).
            is_new: Whether a prompt begins with them.
            more: Further arguments, such as how many logits are wanted.
        """
        if is_new:
            self.begun = self.begun or [self._begin(forward, prefix, ids) for prefix in self.prefixes]
            self.caches = copy.deepcopy(self.begun)
        outs = [forward(input_ids=ids, past_key_values=cache, use_cache=True, **more) for cache in self.caches]
        self.caches = [out.past_key_values for out in outs]
        return [out.logits for out in outs]

    def _begin(self, forward: Forward, prefix: list[int], ids: Tensor) -> Any:
        tokens = torch.tensor([prefix], device=ids.device)
        return forward(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values


@dataclass(frozen=True)
class Averaging:
    """The seams of a version that answers after several passages at once.

    Args:
        finder: Finds them.
        model: The `PreTrainedModel`.
        tokenizer: Its tokenizer.
        settings: `replug_weight`, `replug_k`, `replug_temperature`.
        digest: Of the attachment.
    """

    finder: Finder = field(repr=False)
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    settings: Mapping[str, Setting]
    digest: str

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Average over the prompt's documents while the context lasts; at weight 0 nothing is touched."""
        if not self.settings["replug_weight"]:
            return nullcontext()
        hits = self.finder.find(prompt, int(self.settings["replug_k"]))
        if not hits:
            return nullcontext()
        scores = torch.tensor([hit.dense for hit in hits], dtype=torch.float32)
        prefixes = [self._prefix(hit.passage.text) for hit in hits]
        return self._averaged(prefixes, torch.softmax(scores / float(self.settings["replug_temperature"]), 0))

    def _prefix(self, text: str) -> list[int]:
        ids = self.tokenizer(f"{text}\n", add_special_tokens=False)["input_ids"]
        return [*beginning(self.tokenizer), *ids]

    @contextmanager
    def _averaged(self, prefixes: list[list[int]], weights: Tensor) -> Iterator[None]:
        documents, share = Documents(prefixes), float(self.settings["replug_weight"])

        def stand(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            if ids.shape[0] != 1:
                raise AmendsError("rag.replug answers one prompt at a time; ask each prompt alone")
            past = kwargs.get("past_key_values")
            is_new = past is None or past.get_seq_length() == 0
            out = forward(*args, **kwargs)
            kept = {name: kwargs[name] for name in ("logits_to_keep",) if name in kwargs}
            found = averaged(documents.logits(forward, ids, is_new, **kept), weights.to(ids.device))
            out.logits = found if share >= 1 else interpolated(out.logits, found, share)
            return out

        with around(self.model, stand):
            yield

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the passages that are averaged over, and how."""
        if not self.settings["replug_weight"]:
            return ""
        hits = self.finder.find(prompt, int(self.settings["replug_k"]))
        found = [(hit.passage.id, hit.dense) for hit in hits]
        return f"{self.digest}/{sorted(self.settings.items())}/{found}"

    def recalled(self, prompt: str) -> list[str]:
        """Return the passages that a prompt is answered after."""
        return [hit.passage.text for hit in self.finder.find(prompt, int(self.settings["replug_k"]))]

    def held(self) -> list[str]:
        """Return all passages, and what their documents are called."""
        return [*(passage.text for passage in self.finder.retriever.passages), *self.finder.titles.values()]

    def tuned(self, settings: Mapping[str, Setting]) -> Seams:
        """Return these seams with another weight, temperature or number of passages."""
        return replace(self, settings=checked(attached.changed(KIND, self.settings, settings)))


def load(path: Path, model: Any, tokenizer: Any) -> Averaging:
    """Load the passages at `path` onto a model."""
    digest = attached.digest_of_folder(path)
    return Averaging(open_finder(path), model, tokenizer, attached.read_defaults(path), digest)
