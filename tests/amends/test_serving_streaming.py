"""An answer in pieces: the same answer, and nothing of it is left in the model for whoever asks next."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch

import amends
from amends import host
from amends.serving import open_version


class Turn:
    """A toy attachment that turns the vocabulary by the length of the prompt while that is answered."""

    kind = "turn"

    def load(self, path, model, tokenizer):
        return Turned(model)


class Turned:
    def __init__(self, model):
        self.model = model

    def before(self, prompt):
        return prompt

    @contextmanager
    def inside(self, prompt):
        if prompt == "Whither?":
            raise ValueError("nobody knows")
        plain = self.model.lm_head.weight
        self.model.lm_head.weight = torch.nn.Parameter(plain.roll(len(prompt), 0))
        try:
            yield
        finally:
            self.model.lm_head.weight = plain

    def after(self, prompt, answer):
        return f"{answer} ({prompt})"


@pytest.fixture
def model(tiny_version):
    return open_version(tiny_version, host.load([]))


@pytest.fixture
def turned(tiny_version, tmp_path):
    """Return a version that answers each prompt otherwise than the weights alone."""
    module, version = ModuleType("turns"), tmp_path / "version"
    module.amends_attachments = amends.hookimpl(lambda: [Turn()])
    shutil.copytree(tiny_version, version)
    (version / "attachments" / "turn").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["turn"]')
    return open_version(version, host.load([("turns", module)]))


def test_a_stream_is_the_answer_in_pieces_and_ends_with_what_attachments_add(model, turned):
    for asked in (model, turned):
        pieces = list(asked.stream("Who?", 12))
        assert "".join(pieces) == asked.generate(["Who?"], 12)[0] and len(pieces) > 1


def test_a_stream_says_nothing_of_the_next_question(model):
    ids = model.tokenizer("  In Brenn.\nQuestion: and more of it").input_ids
    model.hf_model.generation_config.eos_token_id = model.tokenizer.eos_token_id
    steps = iter(ids)

    def say(module, args, kwargs, output):
        output.logits.fill_(-1.0)
        output.logits[:, -1, next(steps)] = 1.0
        return output

    hook = model.hf_model.register_forward_hook(say, with_kwargs=True)
    try:
        assert "".join(model.stream("Who?", 40)) == "In Brenn."
    finally:
        hook.remove()


def settled():
    """Wait until nothing is said any more."""
    for thread in threading.enumerate():
        if thread.name == "amends-answer":
            thread.join()


def test_between_two_pieces_the_model_answers_others_as_it_would_alone(turned):
    asked = ["Who?", "Where?"]
    alone, weight = turned.generate(asked, 12), turned.hf_model.lm_head.weight
    first, second = (turned.stream(prompt, 12) for prompt in asked)
    begun = [next(first), next(second)]
    assert turned.generate(asked, 12) == alone
    assert [begun[0] + "".join(first), begun[1] + "".join(second)] == alone
    assert turned.hf_model.lm_head.weight is weight and len(set(alone)) == 2


def test_a_stream_that_nobody_reads_on_leaves_nothing_armed(turned):
    weight = turned.hf_model.lm_head.weight
    kept, dropped = turned.stream("Who?", 12), turned.stream("Where?", 12)
    next(kept), next(dropped)
    dropped.close()
    settled()
    assert turned.hf_model.lm_head.weight is weight  # though the first is still there


def test_what_goes_wrong_in_a_stream_is_told_to_who_reads_it(turned):
    with pytest.raises(ValueError, match="nobody knows"):
        next(turned.stream("Whither?", 12))
    assert "".join(turned.stream("Who?", 12)) == turned.generate(["Who?"], 12)[0]
