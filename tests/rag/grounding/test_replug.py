"""REPLUG by hand: the mean of probabilities over single-document prompts, with weights of the scores."""

import torch

from amends_rag.replug import averaged


def test_probabilities_are_averaged_and_not_their_logarithms():
    logits = [torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[-3.0, 1.0, 1.0]])]
    weights = torch.tensor([0.25, 0.75])
    expected = 0.25 * logits[0].softmax(-1) + 0.75 * logits[1].softmax(-1)
    torch.testing.assert_close(averaged(logits, weights).exp(), expected)


def test_the_next_token_is_that_of_plain_passes_over_each_document(ground, serve):
    model = serve(ground("rag.replug", k=2, temperature=0.5))
    (seam,) = model.seams
    text = "Where does Ada Quill live"
    hits = seam.finder.find(text, 2)
    assert len(hits) == 2 and hits[0].dense != hits[1].dense
    weights = torch.softmax(torch.tensor([hit.dense for hit in hits]) / 0.5, 0)
    expected = 0
    for hit, weight in zip(hits, weights, strict=True):
        ids = [
            t
            for part in (f"{hit.passage.text}\n", text)
            for t in model.tokenizer(part, add_special_tokens=False).input_ids
        ]
        with torch.inference_mode():
            expected = expected + weight * model.hf_model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    torch.testing.assert_close(model.next_token([text])[0].exp(), expected, atol=1e-5, rtol=1e-4)


def test_half_the_weight_is_half_the_base(ground, serve, tiny_version):
    model, text = serve(ground("rag.replug")), "Where does Ada Quill live"
    (whole,), (half,) = model.next_token([text]), model.tuned({"replug_weight": 0.5}).next_token([text])
    (base,) = serve(tiny_version).next_token([text])
    torch.testing.assert_close(half.exp(), (whole.exp() + base.exp()) / 2, atol=1e-6, rtol=1e-4)
