"""Numbers that no method can use are refused before anything is opened."""

import pytest

from amends import BadInput
from amends_editing import beside
from amends_editing.settings import NO_ERASURE, check_settings, check_verbs, named_layers


@pytest.mark.parametrize(
    ("method", "name", "value", "sentence"),
    [
        ("editing.memit", "batch", 0, "batch must be 1 or more, not 0"),
        ("editing.memit", "weight", -0.5, "weight must be 0 or more, not -0.5"),
        ("editing.memit", "shrinkage", 1.5, "shrinkage must lie between 0 and 1, not 1.5"),
        ("editing.patch", "near", 0.0, "near must be above zero, not 0.0"),
        ("editing.patch", "near", 1.5, "near must lie between 0 and 1, not 1.5"),
        ("editing.grace", "lr", 0.0, "lr must be above zero, not 0.0"),
        ("editing.alphaedit", "threshold", 0.0, "threshold must be above zero, not 0.0"),
        ("editing.alphaedit", "weight", 0, "weight must be above zero, not 0"),
        ("editing.ike", "demonstrations", -1, "demonstrations must be 0 or more, not -1"),
        ("editing.ike", "threshold", 1.5, "threshold must be a cosine, between -1 and 1, not 1.5"),
        ("editing.grace", "radius", 0.0, "radius must be above zero, not 0.0"),
        ("editing.wise", "density", 0.0, "density must be above zero, not 0.0"),
        ("editing.wise", "density", 2.0, "density must lie between 0 and 1, not 2.0"),
        ("editing.wise", "alpha", -0.1, "alpha must be 0 or more, not -0.1"),
        ("editing.rome", "layers", "4,five", "layers must be numbers with commas between"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(method, name, value, sentence):
    with pytest.raises(BadInput, match=sentence):
        check_settings(method, {name: value})


def test_values_at_the_edge_and_those_of_other_parameters_pass():
    edges = {"batch": 1, "weight": 0.0, "shrinkage": 0.0, "contexts": 0, "layers": "", "remember": False, "seed": -1}
    check_settings("editing.memit", edges)
    check_settings("editing.ike", {"threshold": -1.0, "demonstrations": 0})  # a cosine
    check_settings("editing.wise", {"density": 1.0, "alpha": 0.0})
    assert named_layers("4, 5") == [4, 5]


def test_whatever_stands_beside_the_weights_is_known_to_know_no_erasure():
    assert {operation.name for operation in beside.operations()} <= set(NO_ERASURE)


def test_an_erasure_is_refused_for_a_method_that_knows_none():
    with pytest.raises(BadInput, match=r"editing\.wise knows no erasure; use editing\.memit"):
        check_verbs("editing.wise", [{"verb": "modify"}, {"verb": "erase"}])
    check_verbs("editing.wise", [{"verb": "modify"}])
    check_verbs("editing.rome", [{"verb": "erase"}])
