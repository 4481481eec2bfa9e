"""The teacher's likeliest tokens at each place, and a divergence that accounts for all the others as one.

A teacher's whole distribution has a number for each word of its vocabulary; its likeliest few hold most of the mass.
What is left is not dropped, and not spread evenly either: the vocabulary is divided into these tokens and one more
class, the rest, and the divergence is taken between the two distributions over that division. Merging outcomes never
raises a divergence, so this is a lower bound of the whole one; where every token is kept it is the whole one. Its
gradient leaves the student's ranking within the rest as it is: the teacher's remaining mass lies there as the
student's own does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from amends_distillation.divergences import forward_kl, reverse_kl

SMALLEST = 1e-7  # of what is left: its logarithm has to stay finite


@dataclass(frozen=True)
class Likeliest:
    """What is kept of a teacher's distributions.

    Args:
        ids: The likeliest tokens, shape (windows, places, kept).
        logp: Their log-probabilities at the temperature, in nats, shape (windows, places, kept).
    """

    ids: Tensor
    logp: Tensor

    def to_bytes(self) -> bytes:
        """Return this as safetensors; what fits in fewer bits is written in them."""
        return bytes(save({"ids": self.ids.to(torch.int32), "logp": self.logp.float()}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Likeliest:
        """Read what `to_bytes` gave."""
        found = load(data)
        return cls(found["ids"], found["logp"])

    def at(self, places: Tensor) -> Likeliest:
        """Return what is kept of some windows."""
        return Likeliest(self.ids[places].long(), self.logp[places])


def likeliest_of(logits: Tensor, kept: int, temperature: float) -> Likeliest:
    """Return the likeliest tokens of distributions softmax(logits / temperature)."""
    logp = (logits.float() / temperature).log_softmax(-1)
    best = logp.topk(min(kept, logp.shape[-1]), dim=-1)
    return Likeliest(best.indices, best.values)


def with_rest(logp: Tensor) -> Tensor:
    """Return log-probabilities with that of all other tokens together behind them, shape (..., kept + 1)."""
    rest = torch.log1p(-logp.exp().sum(-1, keepdim=True).clamp(max=1 - SMALLEST))
    return torch.cat([logp, rest], dim=-1)


def divergence(teacher: Likeliest, logits: Tensor, temperature: float, *, is_reverse: bool = False) -> Tensor:
    """Return T² KL over the teacher's likeliest tokens and the rest (Hinton et al., 2015, section 2.1 has the T²).

    Args:
        teacher: Its likeliest tokens at each place, with their log-probabilities at this temperature.
        logits: The student's, shape (..., vocabulary).
        temperature: Divides both sides' logits.
        is_reverse: KL of student from teacher, in place of teacher from student.

    Returns:
        Nats, shape (...).
    """
    scaled = logits / temperature
    student = scaled.gather(-1, teacher.ids) - scaled.logsumexp(-1, keepdim=True)
    measure = reverse_kl if is_reverse else forward_kl
    return temperature**2 * measure(with_rest(teacher.logp), with_rest(student))
