"""The lens: what a change of known direction says, whom it is shown to, and a picture that everybody can read."""

import re
from xml.etree import ElementTree

import pytest
import torch

from amends import BadInput
from amends_distillation.transfer.lensing import Layer, Reader, Vector, changed_layers, shown, words_of
from amends_distillation.transfer.picture import page, svg, write
from amends_distillation.transfer.seeing import Look, Seen
from amends_distillation.transfer.vocabulary import lens_of

DIRECTION = Vector("direction", 1, 0.9, None, (("␣Brenn", 2.5), ("<b>", 1.0)), (("␣Tarn", -2.0),))
NEURON = Vector("neuron", 17, 0.4, 0.25, (("␣Brenn", 1.5),), (("&", 0.5),))
SEEN = Seen("m@2", "m@1", (Layer(3, 0.012, (DIRECTION, NEURON)),), 2, True)


@pytest.fixture
def pair(write_llama, open_llama):
    """Return a model, the same again, and its tokenizer."""
    version = write_llama(1)
    return open_llama(version)[0], *open_llama(version)


def test_a_change_that_writes_a_tokens_own_direction_says_that_token_first(pair):
    after, before, words = pair
    lens, names = lens_of(after), words_of(words)
    target = (lens.seen[100] / lens.seen[100].norm()).float()
    after.weight(1, "down").data += torch.outer(target, torch.linspace(0.1, 0.4, 48))
    layer = Reader(lens, names, top=3, most=2).compare(after, before, 1)
    direction, *neurons = layer.vectors
    assert direction.towards[0] == (names[100], pytest.approx(1, abs=1e-5))
    assert direction.share == pytest.approx(1, abs=1e-5)
    assert [neuron.number for neuron in neurons] == [47, 46]  # those whose columns changed most
    assert all(neuron.cosine is not None and neuron.cosine < 1 for neuron in neurons)
    assert list(changed_layers(after, before)) == [1]


def test_the_logits_of_the_lens_are_those_of_norm_and_head_but_for_what_all_tokens_share(pair):
    model = pair[0]
    written = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    said = lens_of(model).logits(written)
    whole = model.head().double() @ (model.gain().double()[:, None] * written.double())
    torch.testing.assert_close(said, whole - whole.mean(0), atol=1e-9, rtol=1e-6)


def test_a_named_neuron_is_shown_whether_it_changed_or_not(pair):
    after, before, words = pair
    reader = Reader(lens_of(after), words_of(words), top=3, most=2)
    (same,) = reader.compare(after, before, 0, [5]).vectors
    assert (same.number, same.share) == (5, 0.0) and same.cosine == pytest.approx(1)
    assert same.towards == same.away and not changed_layers(after, before)
    with pytest.raises(BadInput, match="no neuron 48; the layer has 0 to 47"):
        reader.alone(after, 0, [48])


def test_tokens_are_shown_so_that_spaces_and_what_cannot_be_printed_are_seen():
    assert shown(" a\n") == "␣a\\u000a"


def test_who_may_not_read_tokens_gets_numbers_alone():
    hidden = Seen(SEEN.version, SEEN.against, SEEN.layers, SEEN.others, with_tokens=False)
    for text in (str(hidden.to_json()), str(hidden.parts()), svg(hidden), page(hidden)):
        assert "Brenn" not in text and "Tarn" not in text
    assert "Brenn" in str(SEEN.to_json()) and "Brenn" in page(SEEN)


def test_the_drawing_is_whole_xml_and_says_in_words_what_it_shows():
    root = ElementTree.fromstring(svg(SEEN))
    names = {element.tag.rpartition("}")[2]: element.text for element in root}
    assert root.get("role") == "img" and names["title"] == "What m@2 writes, beside m@1"
    assert "Layer 3: direction 1 makes ␣Brenn, <b> likelier." in names["desc"]


def test_the_page_has_everything_in_tables_with_heads_and_a_caption_and_escapes_tokens():
    html = page(SEEN)
    assert html.startswith("<!doctype html>") and '<html lang="en">' in html and "<script" not in html
    assert len(re.findall('<th scope="col">', html)) == 5 and len(re.findall('<th scope="row">', html)) == 2
    assert "<caption>Layer 3: changed by 1.20% of its length</caption>" in html
    assert "<code>&lt;b&gt;</code>" in html and "<code>&amp;</code>" in html and "2 more layers changed" in html


def test_a_picture_of_another_kind_is_refused(tmp_path):
    assert write(SEEN, tmp_path / "lens.svg").read_text() == svg(SEEN)
    with pytest.raises(BadInput, match=r"neither in \.svg nor in \.html"):
        write(SEEN, tmp_path / "lens.png")
    with pytest.raises(BadInput, match="name another place with --output"):
        write(SEEN, tmp_path / "absent" / "lens.svg")


def test_a_neuron_of_no_one_layer_is_refused():
    with pytest.raises(BadInput, match="say which with --layer"):
        Look((), (3,), 5, 4)


def test_versions_of_other_builds_are_not_compared(write_llama, open_llama):
    one, other = (open_llama(write_llama(1, num_hidden_layers=depth))[0] for depth in (2, 3))
    with pytest.raises(BadInput, match="not of one build"):
        changed_layers(one, other)
