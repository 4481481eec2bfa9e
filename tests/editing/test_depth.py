"""How deep a version is follows from its configuration, and layers that it lacks are refused by that alone."""

import json
from types import SimpleNamespace

import pytest

from amends import BadInput
from amends.ledger.lineage import Version
from amends.store import LocalBlobs, put_tree
from amends_editing import depth, holding


@pytest.fixture
def workspace(tmp_path):
    """Return what holds versions, and nothing else of a workspace."""
    return SimpleNamespace(blobs=LocalBlobs(tmp_path / "store"))


@pytest.fixture
def tree(workspace, tmp_path):
    """Return `tree(file, document) -> digest` of a version with this one file."""

    def put(name, document):
        file = tmp_path / "version" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
        return put_tree(workspace.blobs, tmp_path / "version")

    return put


def test_every_architecture_says_how_deep_it_is(workspace, version_of, family):
    assert depth.depth_of(workspace, put_tree(workspace.blobs, version_of(family))) == 4


def test_a_version_on_a_base_is_as_deep_as_the_base(workspace, tree, version_of):
    base = put_tree(workspace.blobs, version_of("llama"))
    assert depth.depth_of(workspace, tree("model/reference.json", {"base": base})) == 4
    weights_alone = put_tree(workspace.blobs, version_of("gpt2") / "model")
    assert depth.depth_of(workspace, tree("model/reference.json", {"base": weights_alone})) == 4


def test_of_a_model_that_sees_its_language_model_counts(workspace, tree):
    assert depth.depth_of(workspace, tree("model/config.json", {"text_config": {"num_hidden_layers": 7}})) == 7


def test_layers_of_a_model_that_does_not_say_are_left_to_the_worker(workspace, tree, monkeypatch):
    digest = tree("model/config.json", {"blocks": 3})
    assert depth.depth_of(workspace, digest) is None
    monkeypatch.setattr(holding, "resolve", lambda *_: Version("bot", 1, digest, {}))
    depth.check_layers(workspace, "bot", {"layers": "99", "layer": 99})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layers": "2,3"}, r"layers must be some of 0 to 2 .*, not \[2, 3\]"),
        ({"layers": "-1"}, "0 to 2"),
        ({"layer": 4}, "layer must be 1 to 3, not 4"),
        ({"layer": 0}, "layer must be 1 to 3, not 0"),
    ],
)
def test_layers_that_a_version_lacks_are_refused(workspace, version_of, monkeypatch, given, said):
    digest = put_tree(workspace.blobs, version_of("llama"))
    monkeypatch.setattr(holding, "resolve", lambda *_: Version("bot", 1, digest, {}))
    with pytest.raises(BadInput, match=said):
        depth.check_layers(workspace, "bot", given)
    depth.check_layers(workspace, "bot", {"layers": "0,2", "layer": None, "steps": 5})
    depth.check_layers(workspace, "bot", {"layers": "", "layer": 3})
