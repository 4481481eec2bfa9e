"""What a method works with: the model's parts, the statistics of its layers, the earlier edits, and how to search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends import AmendsError
from amends_editing.covariance import Moments
from amends_editing.solving import factor
from amends_editing.structure import Anatomy, first_of
from amends_editing.tails import Leading
from amends_editing.targets import Progress, Solved, Solver, Wish, silent, solve

CONTEXTS = (
    "",
    "The weather had been fine all week, and people were out walking. ",
    "I read about this yesterday, and it surprised me. ",
    "There is one more thing that should be said here. ",
    "In the end nobody could remember who had started it. ",
    "We talked for a while about other things. ",
)
"""What may stand before an edited prompt; a fact should hold after any of them."""

PULL_STEPS = 40
CROWDING = 0.06  # with which power of their number facts are written more softly
SHORTENING = 0.15  # and with which their targets are searched in shorter steps, half as many more as that makes fewer
ALIKE = 0.75  # the cosine of a bare prompt's key with the mean key, below which it is written on its own
SAME = 0.999  # the cosine of keys, above which they are those of one subject after one beginning


@dataclass(frozen=True)
class Factors:
    """A low-rank update of one layer's projection: left @ right.T.

    Args:
        layer: Which.
        left: Shape (width, rank), float32.
        right: Shape (inner, rank), float32.
    """

    layer: int
    left: Tensor
    right: Tensor

    def apply(self, anatomy: Anatomy, scale: float = 1.0) -> None:
        """Add the update to the model's weight."""
        anatomy.projections[self.layer].add(scale * (self.left.double() @ self.right.double().T))


@dataclass
class Desk:
    """What a method is given.

    Args:
        anatomy: The model's parts; its weights are changed in place.
        tokenizer: Its tokenizer.
        layers: Which projections are edited, in order.
        solver: How target vectors are searched.
        moments: Second moments of the layers' keys, or None where a method needs none.
        shrinkage: How far covariances are shrunk.
        earlier: Keys of earlier edits by layer, shape (inner, earlier), float64; grows with each batch.
        contexts: What may stand before a prompt.
        progress: Where to report.
        held: How many facts' keys the lineage keeps once all are written; see `crowded` and `counterweight`.
    """

    anatomy: Anatomy
    tokenizer: Any
    layers: tuple[int, ...]
    solver: Solver = field(default_factory=Solver)
    moments: Moments | None = None
    shrinkage: float = 0.01
    earlier: dict[int, Tensor] = field(default_factory=dict)
    contexts: Sequence[str] = CONTEXTS
    progress: Progress = silent
    held: int = 1

    def counterweight(self, weight: float, per_fact: float) -> float:
        """Return λ: what text counts against one fact or a few, and at least so much for each fact that is held."""
        return max(weight, per_fact * self.held)

    @cached_property
    def covariances(self) -> dict[int, Tensor]:
        """C of each layer, shrunk, float64."""
        assert self.moments is not None
        return {layer: self.moments.covariance(layer, self.shrinkage) for layer in self.layers}

    @cached_property
    def lowers(self) -> dict[int, Tensor]:
        """The Cholesky factor of each C."""
        return {layer: factor(covariance) for layer, covariance in self.covariances.items()}

    def keys_before(self, layer: int) -> Tensor:
        """Return the keys of earlier edits, shape (inner, earlier)."""
        inner = self.anatomy.projections[layer].weight.shape[1]
        return self.earlier.get(layer, torch.empty(inner, 0, dtype=torch.float64))

    def remember(self, layer: int, keys: Tensor) -> None:
        """Add keys to the earlier ones."""
        self.earlier[layer] = torch.cat([self.keys_before(layer), keys], dim=1)

    @contextmanager
    def letting_go(self, layer: int, columns: Tensor) -> Iterator[None]:
        """Hold some of the earlier keys no longer while the context lasts.

        Args:
            layer: Whose.
            columns: Whether each earlier key is let go; of no effect on a layer with another number of them.
        """
        held = self.earlier.get(layer)
        if held is None or held.shape[1] != len(columns):
            yield
            return
        self.earlier[layer] = held[:, ~columns]
        try:
            yield
        finally:
            self.earlier[layer] = held


def crowded(solver: Solver, held: int) -> Solver:
    """Return how to search where many facts share the weights: for shorter targets, and written more softly.

    The facts' keys are not orthogonal, so that each is felt at the others' as well, and what is felt grows with their
    number and with the length of what is written. Shorter steps find shorter targets for the same probability, for
    more time; a single fact is not worth that.
    """
    shorter = held**-SHORTENING
    return replace(
        solver, lr=solver.lr * shorter, steps=round(solver.steps * shorter**-0.5),
        overshoot=solver.overshoot * held**-CROWDING,
    )  # fmt: skip


def unlike(keys: Tensor, bare: Tensor, places: Sequence[int]) -> Tensor:
    """Return which facts have a bare prompt that their mean key does not stand for.

    A subject within the first tokens of its prompt looks like nothing that comes later, so that what is written at the
    mean over the contexts is hardly felt where there is no context. One that is the very first token has the key of
    every text's first token, and is left to the mean: what is written there would be felt everywhere.

    Args:
        keys: Means over the contexts, shape (inner, facts).
        bare: The bare prompts', likewise.
        places: At which token of the bare prompt each subject ends.
    """
    strange = torch.cosine_similarity(keys, bare, dim=0) < ALIKE
    return (strange & (torch.tensor(places) > 0)).nonzero()[:, 0]


def again(earlier: Tensor, keys: Tensor) -> Tensor:
    """Return which earlier keys are those of facts that are written again: held still, they would take half of it.

    Args:
        earlier: Keys of earlier edits at the first edited layer, which no edit reaches, shape (inner, earlier).
        keys: The new ones, shape (inner, keys).
    """
    return (F.normalize(earlier, dim=0).T @ F.normalize(keys, dim=0) > SAME).any(1)


def spread(
    desk: Desk, wishes: Sequence[Wish], right_of: Callable[[int, Tensor], Tensor], is_rank_one: bool = False
) -> list[Factors]:
    """Solve target vectors at the last layer and write them, a share at each layer (MEMIT, algorithm 1).

    A fact is written at the mean of its keys, and at the bare prompt's as well where the two are `unlike`. Earlier keys
    are held still, but those of facts that are written `again`.

    Args:
        desk: What to work with.
        wishes: The facts.
        right_of: From a layer and its keys, shape (inner, keys), to the right factor, shape (inner, keys).
        is_rank_one: Whether a fact is one key whatever it looks like.

    Returns:
        The updates, which are in the model already.
    """
    last = desk.layers[-1]
    solver = crowded(desk.solver, desk.held)
    solved = solve(
        desk.anatomy, desk.tokenizer, wishes, last, solver, desk.contexts, desk.layers[0], desk.progress
    )  # fmt: skip
    made = []
    twice, anew = torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.bool)  # facts with two keys, old keys
    for layer in range(desk.layers[0], last + 1):
        if layer in desk.layers:
            keys, bare, out = solved.read(last)
            if layer == desk.layers[0] and not is_rank_one:
                twice = unlike(keys, bare, solved.places)
            share = (solved.values - out) / sum(other >= layer for other in desk.layers)
            if not desk.anatomy.projections[layer].writes_directly:
                share = pull_back(desk.anatomy, solved, layer, share)
            keys, share = torch.cat([keys, bare[:, twice]], dim=1), torch.cat([share, share[twice]])
            if layer == desk.layers[0]:
                anew = again(desk.keys_before(layer), keys)
            with desk.letting_go(layer, anew):
                left, right = share.double().T, right_of(layer, keys)
            if not (left.isfinite().all() and right.isfinite().all()):
                raise AmendsError("an update is not finite; take a larger shrinkage, or fewer facts at once")
            made.append(Factors(layer, left.float(), right.float()))
            made[-1].apply(desk.anatomy)
            desk.remember(layer, keys)
        if layer < last:
            solved.advance()
    return made


def pull_back(anatomy: Anatomy, solved: Solved, layer: int, share: Tensor) -> Tensor:
    """Return what the projection must put out more, where its block norms that before adding it to the residual stream.

    Args:
        anatomy: The model's parts.
        solved: Whose first block is this layer.
        layer: Which.
        share: What the block is to put out more, shape (facts, width).
    """
    found = torch.empty_like(share)
    for group, leading in solved.leading:
        found[group] = _pulled(anatomy, leading, layer, share[group].to(anatomy.device)).cpu()
    return found


def _pulled(anatomy: Anatomy, leading: Leading, layer: int, share: Tensor) -> Tensor:
    bare = leading.of(torch.arange(0, len(leading.entering), len(leading.entering) // len(share)))
    args, kwargs = bare.calls[0]
    push = torch.zeros_like(share, requires_grad=True)

    def run() -> Tensor:
        def shift(_: Any, __: Any, out: Tensor) -> Tensor:
            rows = out.reshape(*bare.entering.shape[:2], -1)
            return torch.cat([rows[:, :-1], (rows[:, -1] + push)[:, None]], dim=1).reshape(out.shape)

        hook = anatomy.projections[layer].module.register_forward_hook(shift)
        try:
            return first_of(anatomy.blocks[layer](bare.entering, *args, **kwargs))[:, -1]
        finally:
            hook.remove()

    with torch.no_grad():
        wanted = run() + share
    search = torch.optim.LBFGS([push], max_iter=PULL_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = (run() - wanted).pow(2).sum()
        torch.autograd.backward(loss)
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return push.detach()
