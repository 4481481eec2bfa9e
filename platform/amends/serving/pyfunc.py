"""What `mlflow.pyfunc.load_model` loads: a version that answers questions through its attachments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from amends import host
from amends.errors import BadInput
from amends.serving.bases import completed
from amends.serving.model import Model, open_version

COLUMN = "prompt"
MAX_NEW_TOKENS = 48


class Answering:
    """Answers prompts; holds what the version's files need for as long as it lives."""

    def __init__(self, version: Path) -> None:
        self._held = ExitStack()
        self.model: Model = open_version(self._held.enter_context(completed(version)), host.current())

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[str]:
        """Answer each prompt.

        Args:
            model_input: A text, a list of texts, a data frame, or a mapping from `prompt` to one or many texts;
                of several columns the one named `prompt` is taken.
            params: `max_new_tokens`, 48 unless given, and the settings that the version's attachments may be asked
                with, such as how much they retrieve; the version's signature lists them.

        Raises:
            BadInput: There is no text in the input, or a parameter that the version does not have.
        """
        model, length = self._asked_with(params)
        return model.generate(prompts_of(model_input), max_new_tokens=length)

    def predict_stream(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Yield the pieces of the answer to one prompt; together they are what `predict` answers.

        Raises:
            BadInput: There is not one text in the input, or a parameter that the version does not have.
        """
        model, length = self._asked_with(params)
        prompts = prompts_of(model_input)
        if len(prompts) != 1:
            raise BadInput(f"there are {len(prompts)} prompts; stream the answer to one, or predict them all")
        yield from model.stream(prompts[0], max_new_tokens=length)

    def _asked_with(self, params: Mapping[str, Any] | None) -> tuple[Model, int]:
        given = dict(params or {})
        length = int(given.pop("max_new_tokens", MAX_NEW_TOKENS))
        return (self.model.tuned(given) if given else self.model), length


def prompts_of(model_input: Any) -> list[str]:
    """Return the prompts in whatever MLflow passes on.

    Raises:
        BadInput: There is no text in the input.
    """
    if isinstance(model_input, str):
        return [model_input]
    if hasattr(model_input, "columns") or isinstance(model_input, Mapping):
        columns = list(model_input.keys())
        if COLUMN not in columns and len(columns) != 1:
            raise BadInput(f"the input has {len(columns)} columns and none is {COLUMN!r}; name one so")
        return prompts_of(model_input[COLUMN if COLUMN in columns else columns[0]])
    prompts = []
    for entry in _flat(model_input):
        prompt = entry.get(COLUMN) if isinstance(entry, Mapping) else entry
        if not isinstance(prompt, str):
            raise BadInput("a prompt is not a text; give a list of texts")
        prompts.append(prompt)
    return prompts


def _flat(model_input: Any) -> list[Any]:
    values = model_input.tolist() if hasattr(model_input, "tolist") else model_input
    if not isinstance(values, list | tuple):
        raise BadInput("the input is neither a text nor a list of texts; give a list of texts")
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Answering:
    """Load a version for MLflow, which looks for this name."""
    return Answering(Path(path))
