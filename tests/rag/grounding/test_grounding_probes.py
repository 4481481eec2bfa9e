"""The probes of grounding against answers worked out by hand, and on versions that hold somebody."""

import dataclasses
import math

import numpy as np
import pytest

from amends import host
from amends.errors import BadRecords
from amends.serving import Known
from amends_rag.applying import opening, read_questions, row_of
from amends_rag.documents import Document
from amends_rag.gain import split_text
from amends_rag.latency import speed, weighted_quantile

QUESTIONS = [
    {"id": "q1", "prompt": "Where is the mill?", "answers": ["Tarn", "in Tarn by the river"], "subjects": []},
    {"id": "q2", "prompt": "Who keeps the light?", "answer": "Ines Varga", "subjects": []},
]


def read(name, task, **given):
    probe = host.current().probe(name)
    return {found.name.partition("/")[2]: found for found in probe(task, **probe.check(given))}


@pytest.fixture
def spoken(table_model):
    """Return `spoken(answers, shown) -> a model` that says these and is shown this before every prompt."""

    class Spoken(table_model):
        seams = ()

        def before(self, prompt):
            return f"{self.shown}{prompt}"

    def make(answers, shown=""):
        made = Spoken({}, answers)
        made.shown = shown
        return made

    return make


def test_answers_are_compared_with_the_nearest_right_one_and_with_the_reference(spoken, probe_task, write_records):
    first, second = (row["prompt"] for row in QUESTIONS)
    good = spoken({first: "In Tarn, by the river [1]\n[1] page", second: "Pell Ostrin"}, "The mill of Tarn. ")
    poor = spoken({first: "A mill", second: "Ines"})
    found = read("rag.answers", probe_task(good, poor), questions=write_records(QUESTIONS))
    values = {name: reading.value for name, reading in found.items()}
    assert values["exact_match"] == 0.5 and values["f1"] == 0.5
    assert values["answer_in_context"] == 0.5 and values["citation_precision"] == 0.0
    assert values["f1_gain"] == pytest.approx(0.5 - (2 / 3) / 2)
    assert found["f1_gain"].low <= found["f1_gain"].value <= found["f1_gain"].high and found["f1"].n == 2


def test_a_question_without_a_right_answer_is_refused_by_its_id(spoken, probe_task, write_records):
    rows = [{"id": "q9", "prompt": "Why?", "answer": " ", "subjects": []}]
    with pytest.raises(BadRecords, match="question q9 has no right answer"):
        read("rag.answers", probe_task(spoken({"Why?": "so"})), questions=write_records(rows))


def test_a_citation_counts_where_the_cited_passage_has_the_answer(ground, serve, probe_task, write_records):
    model = serve(ground("rag.context", k=1))
    rows = [{"id": "q", "prompt": "Where does Ada Quill live?", "answer": "harbour town of Brenn", "subjects": []}]
    found = read("rag.answers", probe_task(model), questions=write_records(rows), tokens=4)
    assert found["answer_in_context"].value == 1.0 and found["exact_match"].value == 0.0
    from amends_rag.answering import measured

    said = "the harbour town of Brenn"
    cited = model.seams[0].after(rows[0]["prompt"], said)
    assert measured(model, rows[0]["prompt"], cited, [said]).citation == 1.0
    assert measured(model, rows[0]["prompt"], cited, ["Sorrel"]).citation == 0.0


def test_perplexity_is_of_what_follows_and_its_ratio_of_two_models(table_model, probe_task, write_records):
    pairs = [("one two", "three four"), ("red blue", "green")]
    tables = {pair: [((0.5, 0.5), 0)] * (2 - number) for number, pair in enumerate(pairs)}
    others = {pair: [((0.25, 0.75), 0)] * (2 - number) for number, pair in enumerate(pairs)}
    rows = [{"id": str(n), "text": " ".join(pair), "subjects": []} for n, pair in enumerate(pairs)]
    task = probe_task(table_model(tables), table_model(others))
    with pytest.raises(KeyError):  # with one word given, another text would be scored
        read("rag.perplexity", task, text=write_records(rows), given=1, words=2)
    rows[1]["text"] = "red blue green violet"
    tables[("red blue", "green violet")], others[("red blue", "green violet")] = tables[pairs[0]], others[pairs[0]]
    found = read("rag.perplexity", task, text=write_records(rows), given=2, words=2)
    assert found["perplexity"].value == pytest.approx(2.0) and found["ratio"].value == pytest.approx(0.5)


def test_what_is_looked_up_with_is_the_beginning_alone():
    assert split_text({"text": "a b c d e f"}, 2, 3) == ("a b", "c d e")
    assert split_text({"text": "a b c"}, 64, 128) == ("a", "b c") and split_text({"prompt": "a"}, 64, 128) is None


def test_seconds_are_read_by_rank_and_speed_by_sums():
    values, weights = np.array([3.0, 1.0, 2.0, 4.0]), np.array([[1.0, 1, 1, 1], [0, 0, 0, 2]])
    assert weighted_quantile(values, weights, 0.5).tolist() == [2.0, 4.0]
    assert weighted_quantile(values, weights, 0.95).tolist() == [4.0, 4.0]
    assert speed(np.array([[2.0, 10.0], [3.0, 5.0]]), np.ones((1, 2))).tolist() == [3.0]


def test_waiting_is_measured_beside_the_reference(ground, serve, tiny_version, probe_task, write_records):
    grounded = dataclasses.replace(serve(ground("rag.context")), known=Known())
    task = probe_task(grounded, serve(tiny_version))
    found = read("rag.latency", task, questions=write_records(QUESTIONS), tokens=2)
    assert task.model.known.answers == {}  # what is known would take no time
    assert 0 < found["p50"].value <= found["p95"].value and math.isfinite(found["speed_ratio"].value)


@pytest.mark.parametrize("name", ["rag.context", "rag.replug", "rag.knn-lm", "rag.facts"])
def test_a_person_is_found_while_held_and_not_after(ground, serve, probe_task, write_records, documents, name):
    row = {"id": "f", "prompt": "Where does Pell Ostrin bake?", "answer": "in Tarn", "names": ["Pell Ostrin"]}
    with_them, without = documents(), documents()[:2]
    if name == "rag.facts":
        with_them = [
            {"id": "e", "subject": "Pell Ostrin", "prompt": "Where does Pell Ostrin bake", "target": "in Tarn"}
        ]
        without = [{"id": "o", "subject": "Ada Quill", "prompt": "Ada Quill lives in", "target": "Brenn"}]
    forget = write_records([row | {"subjects": ["s_1"]}])
    held, gone = (serve(ground(name, rows)) for rows in (with_them, without))
    found = read("rag.leakage", probe_task(held), forget=forget, tokens=2)
    assert found["retrieved"].value == found["held"].value == 1.0
    found = read("rag.leakage", probe_task(gone), forget=forget, tokens=2)
    assert found["retrieved"].value == found["held"].value == found["answered"].value == 0.0


def test_a_document_asks_for_how_it_goes_on():
    assert opening("Ines keeps the light. She came by boat. It rains.") == (
        "Ines keeps the light.",
        "She came by boat.",
    )
    assert opening("one two three") == ("one two", "three")
    document = Document("a.md", "Ines keeps the light. She came by boat.", ("Ines",))
    assert row_of(document)["subject"] == ["Ines"] and row_of(document)["answer"] == "She came by boat."


def test_questions_are_read_with_one_or_several_right_answers(tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_text(
        '{"prompt": "Where?", "answer": "Tarn"}\n{"id": "b", "prompt": "Who?", "answers": ["Ada", "Ada Q."]}\n'
    )
    one, other = read_questions(file)
    assert (one["id"], one["answers"], other["answer"]) == ("1", ["Tarn"], "Ada")
    file.write_text('{"prompt": "Where?"}\n')
    with pytest.raises(BadRecords, match=r"asked\.jsonl, line 1: write a `prompt`, and an `answer`"):
        read_questions(file)


def test_the_right_passage_is_known_by_what_its_document_is_called(ground, probe_task, write_records, documents):
    rows = [row | {"id": f"5a{number}", "title": f"page-{number}.md"} for number, row in enumerate(documents())]
    task = probe_task(None)
    task.model_path = ground("rag.context", rows)
    asked = {
        "page-2.md": "Who bakes flat bread in Tarn?",
        "page-0.md#0": "Where does Ada Quill live?",
        "page-9.md": "Who?",
    }
    asked = [{"id": gold, "prompt": prompt, "passage": gold, "subjects": []} for gold, prompt in asked.items()]
    (first, *_) = host.current().probe("rag.retrieval").function(task, questions=write_records(asked))
    assert first.name == "rag.retrieval/recall_at_1" and first.value == pytest.approx(2 / 3)
