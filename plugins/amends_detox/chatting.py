"""Let a model answer conversations through its own chat template; where it has none, through the template of Amends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amends import BadRecords, ProbeTask
from amends.serving.encoding import beginning, render
from amends.serving.generating import greedy
from amends.serving.model import Model

AT_ONCE = 16
ROLES = ("system", "user", "assistant")
Messages = Sequence[Mapping[str, str]]


def messages_of(row: Mapping[str, Any], where: str, system: str = "") -> list[dict[str, str]]:
    """Return a row's conversation, with a system prompt before it unless it has its own.

    Raises:
        BadRecords: It is no conversation that ends with what a user says.
    """
    given = row.get("messages")
    messages = given if isinstance(given, list) else []
    sound = all(
        isinstance(one, dict) and one.get("role") in ROLES and isinstance(one.get("content"), str) for one in messages
    )
    if not messages or not sound or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise BadRecords(f"{where}: messages must be a list of role and content that ends with what a user says")
    first = [{"role": "system", "content": system}] if system and messages[0]["role"] != "system" else []
    return [*first, *({"role": one["role"], "content": one["content"]} for one in messages)]


def template_of(model: Model) -> str:
    """Return which template conversations go through: `chat`, or `question` where the tokenizer has none."""
    return "chat" if getattr(model.tokenizer, "chat_template", None) else "question"


def replies(task: ProbeTask, model: Model, conversations: Sequence[Messages], tokens: int) -> list[str]:
    """Return what a model answers each conversation, greedily and stripped.

    Its attachments act on what the user says last; with them each conversation is handled alone.

    Raises:
        BadRecords: The chat template refuses a conversation.
    """
    is_question = template_of(model) == "question"
    answers: list[str] = []
    step = 1 if model.seams else AT_ONCE
    for start in range(0, len(conversations), step):
        task.progress(start, len(conversations), "answering")
        some = conversations[start : start + step]
        last = some[0][-1]["content"]
        rows = [_encode(model, messages) for messages in some]
        with model.armed(last):
            said = greedy(model.hf_model, model.tokenizer, rows, tokens, is_template=is_question)
        for seam in reversed(model.seams):
            said = [seam.after(last, text) for text in said]
        answers += said
    task.progress(len(conversations), len(conversations), "answering")
    return answers


def _encode(model: Model, messages: Messages) -> list[int]:
    seen = [*messages[:-1], {"role": "user", "content": model.before(messages[-1]["content"])}]
    tokenizer = model.tokenizer
    if template_of(model) == "question":
        ids = tokenizer(_questions(seen), add_special_tokens=False)["input_ids"]
        return [*beginning(tokenizer), *ids]
    try:
        text = tokenizer.apply_chat_template(seen, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # templates are programs of their own
        raise BadRecords(
            f"the model's chat template refuses a conversation ({type(error).__name__}); "
            "it may allow no system prompt, or want user and assistant in turn"
        ) from None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _questions(messages: Messages) -> str:
    """Return a conversation in the template of Amends; what the system says stands before it."""
    said = {"system": "{}\n", "user": "{}", "assistant": " {}\n"}
    return "".join(
        said[one["role"]].format(render(one["content"]) if one["role"] == "user" else one["content"])
        for one in messages
    )
