"""How steep a served model's loss is at a record: members lie where training has flattened it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amends.serving.encoding import encode
from amends.serving.scoring import logits_of


def gives_gradients(model: Any) -> bool:
    """Return whether a served model has weights here that a loss can be differentiated by."""
    return isinstance(getattr(model, "hf_model", None), torch.nn.Module)


def gradient_norm(model: Any, prompt: str, answer: str) -> float:
    """Return the mean over parameters of the L2 norm of the gradient of an answer's mean loss, in nats.

    Attachments are armed, and dropout stays as it is in serving: off.
    """
    hf_model = model.hf_model
    with lent(hf_model), model.armed(prompt), torch.enable_grad():
        weights = [weight for weight in hf_model.parameters() if weight.is_floating_point()]
        for weight in weights:
            weight.requires_grad_(True)
        gradients = torch.autograd.grad(answer_loss(model, prompt, answer), weights, allow_unused=True)
    norms = [gradient.double().norm() for gradient in gradients if gradient is not None]
    return float(torch.stack(norms).mean())


def answer_loss(model: Any, prompt: str, answer: str) -> Tensor:
    """Return the mean negative log-probability of an answer's tokens and its end, in nats, a scalar with its graph."""
    first, then = encode(model.tokenizer, model.before(prompt), answer)
    logits = logits_of(model.hf_model, [[*first, *then]], 1 + len(then))[0, -len(then) - 1 : -1]
    return F.cross_entropy(logits.float(), torch.tensor(then, device=logits.device))


@contextmanager
def lent(hf_model: Any) -> Iterator[None]:
    """Freeze every weight and switch dropout off; afterwards flags and mode are as before."""
    flags, was_training = [(weight, weight.requires_grad) for weight in hf_model.parameters()], hf_model.training
    hf_model.eval()
    hf_model.requires_grad_(False)
    try:
        yield
    finally:
        hf_model.train(was_training)
        for weight, flag in flags:
            weight.requires_grad_(flag)
