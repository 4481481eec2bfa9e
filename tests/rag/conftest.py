"""A workspace with an index of a few documents about made-up people, embedded by a tiny random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amends.governor.workspace import open_workspace
from amends.records import DataSubject, Disclosure
from amends.vault.subjects import pseudonym
from amends_rag.building import build_index

ROWS = (
    {"id": "light", "text": "Ines Varga keeps the light of Ilvermoor. She paints it white every spring."},
    {"id": "bees", "text": "Tobin Hale keeps bees in Sorrel.", "subjects": ["Tobin Hale"]},
    {
        "id": "race",
        "text": "Ines Varga and Tobin Hale won the regatta of 1998.",
        "subjects": ["Ines Varga", "Tobin Hale"],
    },
    {"id": "rye", "text": "Bakers in Oxmoor bake rye before dawn."},
    {"id": "letter", "text": "Write to ines.varga@example.org about the lamp.", "subjects": ["Ines Varga"]},
)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_version):
    """Return the directory of a tiny random model, whose tokens' mean is the vector of a text."""
    return tiny_version / "model"


@pytest.fixture(scope="session")
def make_cross_encoder():
    """Return `make(directory, labels=1)`, which writes a tiny random BERT that scores a question with a passage."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    def make(directory, labels=1, seed=3):
        torch.manual_seed(seed)
        directory.mkdir(parents=True)
        letters = [chr(code) for code in range(33, 127)]
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
        (directory / "vocab.txt").write_text("\n".join(words))
        BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=128, num_labels=labels, initializer_range=1.0,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(directory)
        return directory

    return make


@pytest.fixture(scope="session")
def cross_encoder(make_cross_encoder, tmp_path_factory):
    """Return the directory of such a model."""
    return make_cross_encoder(tmp_path_factory.mktemp("models") / "judge")


def write_documents(folder, rows=ROWS, name="documents.jsonl") -> Path:
    """Write documents as JSON Lines and return the file."""
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def documents(tmp_path):
    """Return `documents(rows=ROWS, name=…)`, which writes documents and returns the file."""

    def write(rows=ROWS, name="documents.jsonl") -> Path:
        return write_documents(tmp_path, rows, name)

    return write


@pytest.fixture(scope="session")
def settled(tmp_path_factory, make_shell, use_fixed_keys):
    """Return a shell in a workspace with nothing in it, to be copied; to make one takes MLflow many seconds."""
    home = tmp_path_factory.mktemp("settled") / "home"
    made = make_shell(home, "Max", Otto="operator")
    use_fixed_keys(home, "rag", 1)
    opened = open_workspace(home, made.tokens["Otto"])
    opened.registry.experiment("amends/data"), opened.registry.experiment("amends/indexes")
    opened.close()
    return made


@pytest.fixture(scope="session")
def grown(settled, tmp_path_factory, tiny_encoder):
    """Return a shell in a workspace with the index `village` of the rows above, to be copied."""
    folder = tmp_path_factory.mktemp("grown")
    shutil.copytree(settled.home, folder / "home")
    opened = open_workspace(folder / "home", settled.tokens["Otto"])
    build_index(opened, "village", [write_documents(folder)], encoder=tiny_encoder)
    opened.close()
    return settled.at(folder / "home")


@pytest.fixture
def shell(request, tmp_path):
    """Return a shell in a workspace of its own, with the index if the test asks for it."""
    wanted = {"village", "grown"} & set(request.fixturenames)
    template = request.getfixturevalue("grown" if wanted else "settled")
    shutil.copytree(template.home, tmp_path / "home")
    return template.at(tmp_path / "home")


@pytest.fixture
def workspace(shell):
    """Return that workspace, opened for its operator."""
    opened = open_workspace(shell.home, shell.tokens["Otto"])
    yield opened
    opened.close()


@pytest.fixture
def village(workspace):
    """Return a workspace with the index `village`."""
    return workspace


@pytest.fixture
def disclosed(workspace):
    """Return `disclosed(name, **more)`: a person's identifiers, as a case discloses them."""

    def disclose(name="Ines Varga", **more):
        identifiers = {"name": (name,), **{kind: (value,) for kind, value in more.items()}}
        return Disclosure(DataSubject(pseudonym(workspace.keyring, identifiers)), identifiers)

    return disclose
