"""The benchmarks write the figures that they promise, judge them as they say, and go on after an interruption."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
FIELDS = {"name", "value", "unit", "n", "low", "high", "baseline", "ratio", "target", "met"}


@pytest.fixture
def bench(monkeypatch):
    """Return `bench(module)`, which imports a module that lies beside the benchmarks."""
    import importlib

    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def measured(name, output, *more):
    """Run a benchmark as `make` does, in miniature, and return its file."""
    command = [sys.executable, str(BENCH / f"bench_{name}.py"), "--model", "tiny", "--output", str(output), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return json.loads((output / f"{name}.json").read_bytes())


def check_schema(figures):
    """Check a file of figures against the shape that is promised to whoever reads it."""
    assert set(figures) == {"machine", "calibration", "readings"}
    assert figures["machine"]["cores"] >= 1 and figures["machine"]["cpu"]
    assert figures["calibration"]["value"] > 0 and figures["calibration"]["n"] >= 2
    assert figures["readings"]
    for reading in figures["readings"]:
        assert set(reading) == FIELDS, reading["name"]
        assert isinstance(reading["value"], float | int) and reading["unit"] and reading["n"] >= 1
        assert (reading["low"] is None) == (reading["high"] is None)
        assert (reading["target"] is None) == (reading["met"] is None)
        if reading["low"] is not None:
            assert reading["low"] <= reading["high"]
    names = [reading["name"] for reading in figures["readings"]]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_erasure_in_miniature_is_exact_and_finds_who_is_named_as_written(tmp_path):
    figures = measured("erasure", tmp_path, "--n", "4", "--seed", "3")
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    equal = [reading for name, reading in by_name.items() if name.startswith("digest equality")]
    assert len(equal) == 2 and all(reading["value"] == 1 and reading["met"] for reading in equal)
    assert by_name["locate third-party mention: exact"]["value"] == 1
    assert by_name["locate: others' records taken for exact"]["value"] == 0
    assert 0 < by_name["steps of an erasure, every subject"]["value"] < 1
    assert any(name.startswith("routed, naming nobody") for name in by_name)
    assert [path.name for path in tmp_path.iterdir()] == ["erasure.json"]


@pytest.mark.slow
def test_the_platform_in_miniature_gives_its_figures(tmp_path):
    parts = ("help", "audit", "cases")  # whole trainings and whole requests have tests of their own
    figures = measured("platform", tmp_path, "--n", "200", *(word for part in parts for word in ("--only", part)))
    check_schema(figures)
    names = {reading["name"] for reading in figures["readings"]}
    assert {"amends --help, beside python -c pass", "audit: verify the chain of 200"} <= names
    assert {"audit: append 200, one a transaction", "cases list of 200, first hundred"} <= names


@pytest.mark.slow
def test_governance_in_miniature_says_what_judging_comparing_and_promoting_take(tmp_path):
    figures = measured("governance", tmp_path, "--n", "3", "--seed", "3")
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    judged = by_name["3 rules, judge: compile, evaluate and say why"]
    assert 0 < by_name["3 rules, evaluate alone"]["value"] < judged["value"]
    assert by_name["reconcile 3 versions, put right"]["baseline"] == by_name["reconcile 1 versions, put right"]["value"]
    steps = [f"a promotion: carried out, step {step}, on the clock" for step in ("prepare", "measure", "promote")]
    whole = by_name["a promotion: all, on the clock"]
    assert whole["n"] == 3 and 0 < sum(by_name[step]["low"] for step in steps) < whole["high"]


@pytest.mark.slow
def test_retrieval_in_miniature_finds_passages_and_erases_somebody(tmp_path):
    things = ("lamp", "ferry", "mill", "harbour")
    articles = [
        {"paragraphs": [
            {"context": f"The {thing} of {town} is painted {town}-blue.",
             "qas": [{"question": f"How is the {thing} of {town} painted?"}]}
            for town in ("Brenn", "Tarn")
        ]}
        for thing in things
    ]  # fmt: skip
    (tmp_path / "rag").mkdir()
    (tmp_path / "rag" / "xquad.en.json").write_text(json.dumps({"data": articles}))
    figures = measured("rag", tmp_path / "out", "--data", str(tmp_path), *(w for p in OWN for w in ("--only", p)))
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    assert by_name["recall at 1, words"]["value"] == 1
    assert by_name["of these erased"]["met"] and by_name["places where the person is left"]["met"]
    assert by_name["kinds of file of which that cannot be said"]["met"]
    assert "200 chunks: a query, p95, on the clock" in by_name


OWN = ("retrieval", "scale", "erasure")  # the parts of retrieval that need no language model


@pytest.mark.slow
def test_grounding_in_miniature_gives_its_figures_beside_the_base(tmp_path):
    towns = ("Brenn", "Tarn", "Sorrel")
    asked = [
        {"title": town, "paragraphs": [{"context": f"The mill of {town} is {town}-blue.", "qas": [
            {"id": town, "question": f"What colour is the mill of {town}?", "answers": [{"text": f"{town}-blue"}]}
        ]}]}
        for town in towns
    ]  # fmt: skip
    story = "".join(f" = {town} = \n\n" + f"The road to {town} climbs past a school . " * 40 + "\n" for town in towns)
    facts = [
        {"subject": town, "prompt": f"The mill of {town} is painted", "target_new": "red", "ground_truth": "blue",
         "rephrase_prompt": f"They painted the mill of {town}", "locality_prompt": "The sea is painted"}
        for town in towns
    ]  # fmt: skip
    texts = {"wikitext2_valid.txt": story, "wikitext2_test.txt": story}
    for folder, name, text in (
        ("rag", "xquad.en.json", json.dumps({"data": asked})), ("editing", "counterfact-val.json", json.dumps(facts)),
        *(("text", name, text) for name, text in texts.items()),
    ):  # fmt: skip
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    parts = ("answers", "latency", "output", "replug", "inside", "halves", "facts")
    wanted = (word for part in parts for word in ("--only", part))
    figures = measured("rag", tmp_path / "out", "--n", "4", "--data", str(tmp_path), *wanted)
    check_schema(figures)
    by_name = {reading["name"]: reading["value"] for reading in figures["readings"]}
    assert by_name["rag.context, k 3: answer_in_context"] == 1 and by_name["base: answer_in_context"] == 0
    assert (
        by_name["rag.context, k 3: an answer, p95, on the clock"]
        >= by_name["rag.context, k 3: an answer, p50, on the clock"]
    )
    assert by_name["rag.replug, k 4: its share of the base's"] > 0 and by_name["base: tokens a CPU-second"] > 0
    assert by_name["rag.knn-lm: ratio"] < 1  # the same words are stored
    assert by_name["rag.facts: prompts in scope"] == 1 and by_name["rag.facts: locality_prompts in scope"] == 0
    assert {"rag.replug, k 2: ratio", "rag.memory, gates learnt in 24 steps: ratio"} <= by_name.keys()


def counterfact_of_nobody(folder):
    """Write facts about people who do not exist, and running text beside them, where the benchmark looks for both."""
    names = [f"{first} {last}" for first in ("Ada", "Pax", "Una", "Ode") for last in ("Quill", "Marr", "Orrel", "Sel")]
    facts = []
    for number, name in enumerate(names):
        for relation, (one, other) in {"lives in": ("Brenn", "Tarn"), "plays the": ("oboe", "viola")}.items():
            old, new = (one, other) if number % 2 else (other, one)
            facts.append({
                "case_id": len(facts), "prompt": f"{name} {relation}", "subject": name, "target_new": new,
                "ground_truth": old, "rephrase_prompt": f"As for {name}: {name} {relation}",
                "locality_prompt": f"Ivo Lennard {relation}", "locality_ground_truth": old,
            })  # fmt: skip
    (folder / "editing").mkdir(parents=True)
    (folder / "text").mkdir()
    (folder / "editing" / "facts.json").write_text(json.dumps(facts))
    sentence = "The road from the harbour climbs past a school , and carts stop there before they go on .\n"
    (folder / "text" / "wikitext2_valid.txt").write_text(sentence * 200)
    return folder / "editing" / "facts.json"


@pytest.mark.slow
def test_editing_in_miniature_gives_its_figures_beside_the_plain_procedure(tmp_path):
    data, output = counterfact_of_nobody(tmp_path / "data"), tmp_path / "output"
    asked = {"portability": {"Reasoning": [{"prompt": "The harbour of the town is by", "ground_truth": "Tarn"}]}}
    taken = ("subject", "prompt", "target_new", "ground_truth")
    known = [{**{key: row[key] for key in taken}, **asked} for row in json.loads(data.read_text())]
    (data.parent / "knowedit_wiki_counterfact_test_cf.json").write_text(json.dumps(known))
    figures = measured("editing", output, "--n", "6", "--seed", "3", "--data", str(data))
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    assert by_name["unedited: efficacy"]["value"] == 0  # that is how they were picked
    beside = ("one patch at a time", "patches at once", "6 patches in a row")
    for name in ("one at a time", "plain procedure", "batch, memit", "batch, ultraedit", "6 in a row", *beside):
        assert 0 <= by_name[f"{name}: efficacy"]["value"] <= 1
    assert by_name["one at a time: efficacy"]["value"] >= 0.5
    assert by_name["one at a time, beside the plain procedure: an edit"]["baseline"] > 0
    assert by_name["erased: extraction by paraphrase"]["n"] > 0
    assert 0 <= by_name["patches, with decoys: namesakes taken for a subject"]["value"] <= 1
    assert by_name["alphaedit: portability/reasoning"]["n"] == 6 and by_name["patch: fluency/consistency"]["value"] > 0
    assert by_name["erased by alphaedit: erasure/relearned"]["n"] == 6 and by_name["said: facts"]["value"] >= 0
    assert {path.name for path in output.iterdir()} == {"editing.json", "editing-sequence.png", "editing-patches.png"}


@pytest.mark.slow
def test_transfer_in_miniature_gives_every_arm_and_what_arrives_of_an_edit(tmp_path):
    facts = counterfact_of_nobody(tmp_path / "data")
    rows = json.loads(facts.read_text())
    known = [{"prompt": row["prompt"], "attribute": row["ground_truth"]} for row in rows]
    (facts.parent / "rome_known_1000.json").write_text(json.dumps(known))
    facts.rename(facts.parent / "counterfact-val.json")
    output = tmp_path / "output"
    figures = measured("transfer", output, "--n", "1", "--seed", "3", "--data", str(tmp_path / "data"))
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    for unit in ("submatrix", "neurons"):
        for init in ("teacher", "random", "self", "seed-only"):
            assert by_name[f"{unit}, {init}: answers of new facts"]["value"] > 0
        for control in ("random", "self", "seed-only"):
            gain = by_name[f"{unit}: loss of {control} less that of teacher"]["value"]
            sides = [by_name[f"{unit}, {init}: answers of new facts"]["value"] for init in (control, "teacher")]
            assert gain == pytest.approx(sides[0] - sides[1], abs=1e-4)
    assert by_name["layers of the student matched with those they were cut from"]["value"] == 1
    assert by_name["by lens: transfer.lens/cosine"]["value"] > 0.5
    assert {path.name for path in output.iterdir()} == {"transfer.json"}


def test_answers_to_one_prompt_score_together_as_each_does_in_a_plain_pass(bench, tmp_path):
    import torch

    subject = bench("editing_records").open_subject(bench("material").base_model("tiny", tmp_path / "tiny"))
    pairs = [("Ada Quill lives in", answer) for answer in ("Brenn", "Tarn", "an oboe by the harbour")]
    pairs += [("Ada Quill plays the", "oboe"), ("Ada", "Quill lives"), pairs[0]]
    for (prompt, answer), (logp, is_first) in zip(pairs, subject.score(pairs), strict=True):
        asked, wanted = (
            subject.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, f" {answer}")
        )
        places = range(len(asked) - 1, len(asked) + len(wanted) - 1)
        with torch.no_grad():
            plain = subject.anatomy.model(torch.tensor([asked + wanted])).logits[0, list(places)].log_softmax(-1)
        picked = plain[range(len(wanted)), wanted]
        assert logp == pytest.approx(float(picked.mean()), abs=1e-4)
        assert is_first == (plain.argmax(-1).tolist() == wanted)


@pytest.mark.slow
def test_unlearning_in_miniature_sets_every_method_beside_the_gold_model(tmp_path):
    figures = measured("unlearning", tmp_path, "--n", "3", "--seed", "4")
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    for method in ("revert", "npo", "rmu", "task-vector", "subnetwork", "projection"):
        assert -1 <= by_name[f"{method}: forgotten probability, less the gold model's"]["value"] <= 1
        assert by_name[f"{method}: training for 40 records"]["value"] > 0
    plain = by_name["plain: negative preference optimisation, 5 steps for 6 records"]
    beside = by_name["revert: training, of the plain procedure's steps alone"]
    assert 0 < plain["value"] == beside["baseline"] and beside["target"] == 1
    named = by_name["editing.forget: records whose question names their person"]
    assert named["value"] == named["n"] == 6
    assert by_name["editing.forget, asked by name: kept strength, of the gold model's"]["target"] is None
    assert by_name["rung 1, revert: held comparisons of 8"]["value"] <= 8
    assert any(name.startswith("the ladder chooses") for name in by_name)
    assert by_name["revert after 4 bits: probability, less the gold model's"]["target"] == 0.1
    assert by_name["shards: kept probability, of a routed model without them"]["ratio"] == 1


def test_a_method_that_takes_questions_by_name_is_asked_for_those_alone(bench, tmp_path):
    benchmark, harness = bench("bench_unlearning"), bench("harness")
    given = harness.options("unlearning", "", ["--model", "tiny", "--output", str(tmp_path)])
    parts = benchmark.Unlearning(
        harness.Bench("unlearning", given, {}), None, "tiny", 4, bench("unlearning_people").sizes(3)
    )
    first = parts.people.forgotten[0]
    first["prompt"] = first["prompt"].replace(first["names"][0], "they")
    assert parts.request("revert") == parts.people.forgotten
    assert parts.request("editing.forget") == parts.people.forgotten[1:]
    version, numbers = tmp_path / "version", [float(place) for place in range(6)]
    everything = bench("unlearning_runs").Answers(numbers, numbers, numbers, ["a", "a", "b", "b", "c", "c"])
    parts._asked[version] = (everything, everything, everything)
    forgotten, kept, _ = parts.asked_about(version, parts.request("editing.forget"))
    assert forgotten.logp == numbers[1:] and forgotten.persons == ["a", "b", "b", "c", "c"] and kept == everything


def test_the_timed_baseline_of_unlearning_learns_what_it_is_told(bench, tiny_version, tmp_path):
    rows, baseline = (
        bench("material").prepared(bench("material").raw_records(None, 6, 3, 4)),
        bench("unlearning_baseline"),
    )
    found = baseline.timed(tiny_version, tmp_path, rows[:8], rows[8:16], layers=1)
    assert found.steps == len(found.losses) == baseline.EPOCHS  # each step has the same sixteen records
    assert found.losses == sorted(found.losses, reverse=True) and found.losses[-1] < found.losses[0]
    assert 0 < found.stepping < found.whole
    source = next(tiny_version.rglob("model.safetensors"))
    assert (tmp_path / source.name).read_bytes() != source.read_bytes()


@pytest.mark.slow
def test_requests_in_miniature_cost_no_more_than_the_shards_they_touch(tmp_path):
    figures = measured("unlearning", tmp_path, "--n", "3", "--seed", "3", "--only", "requests")
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    assert by_name["requests: 2 one after another: farthest from where it was"]["target"] == 0.02
    steps = by_name["requests: 15 in one batch: steps"]
    assert 0 < steps["value"] <= steps["baseline"] and steps["met"]
    assert by_name["requests: 15 in one batch: training"]["baseline"] > 0
    assert by_name["requests: 15 in one batch: same digest as the touched shards trained from their first slice"]["met"]
    assert by_name["requests: 15 in one batch: steps, beside one at a time"]["ratio"] < 0.5
    assert by_name["requests foreseen, in the last slice: steps of a request"]["ratio"] < 1


def prompts_of_nobody(folder):
    """Write prompts with scores, in the form of RealToxicityPrompts, and running text beside them."""
    rows = [{"prompt": {"text": f"The man at gate {n} is a stupid", "toxicity": 1 - n / 100}} for n in range(80)]
    (folder / "safety").mkdir(parents=True)
    (folder / "safety" / "rtp_val5k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "text").mkdir()
    passage = "The road from the harbour climbs past a school , and carts stop there before they go on . " * 3
    (folder / "text" / "wikitext2_valid.txt").write_text(f"{passage}\n" * 20)
    return folder / "safety"


@pytest.mark.slow
def test_detoxification_in_miniature_judges_the_best_candidate_once_on_other_prompts(tmp_path):
    data, output = prompts_of_nobody(tmp_path / "data"), tmp_path / "output"
    figures = measured("detox", output, "--n", "12", "--seed", "3", "--only", "frontier", "--data", str(data))
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    made = [name for name in by_name if name.endswith(": made")]
    assert 0 < by_name["candidates within the budget"]["value"] <= len(made) == 3  # two operations want more layers
    share = by_name["chosen, on B: detox.toxicity/share"]
    assert share["n"] == 24 and share["baseline"] is not None
    assert by_name["chosen, on B: upper end of the perplexity, of the parent's"]["target"] == 1.05
    assert {path.name for path in output.iterdir()} == {"detox.json", "detox-frontier.svg"}


def test_a_reading_is_judged_by_its_ratio_where_it_has_a_baseline(bench):
    read = bench("figures").read
    assert (read("a", 3, "s", baseline=2, at_most=1.5).ratio, read("a", 3, "s", baseline=2, at_most=1.5).met) == (
        1.5,
        True,
    )
    assert read("a", 3.1, "s", baseline=2, at_most=1.5).met is False
    assert read("a", 0.9, "share", at_least=1.0).met is False
    assert read("a", 1, "share", at_least=1.0).met is True
    assert read("a", 1, "s").met is None


def test_an_interrupted_run_goes_on_and_another_one_begins_anew(bench, tmp_path):
    harness = bench("harness")
    asked = []

    def ask(number, *more):
        given = harness.options("x", "", ["--output", str(tmp_path), *more])
        found = harness.Bench("x", given, {})
        return found, found.once("answer", lambda: asked.append(number) or number)

    assert ask(1)[1] == 1
    interrupted, answer = ask(2)
    assert answer == 1 and interrupted.work.is_dir()
    assert ask(3, "--seed", "8")[1] == 3
    assert asked == [1, 3]


def test_a_part_that_is_not_wanted_is_not_measured(bench, tmp_path):
    harness = bench("harness")
    found = harness.Bench("x", harness.options("x", "", ["--output", str(tmp_path), "--only", "b"]), {})
    found.part("a", lambda: pytest.fail("a was measured"))
    assert not found.readings


@pytest.mark.parametrize("what", ["ZeroDivisionError: division by zero", "ValueError: Out of range float .*"])
def test_a_part_that_fails_is_named_and_the_others_run_and_are_not_measured_again(bench, tmp_path, what):
    harness, figures = bench("harness"), bench("figures")
    failing = (lambda: 1 / 0) if "Zero" in what else lambda: [figures.read("one", math.nan, "s")]
    asked = []

    def fine():
        asked.append(1)
        return [figures.read("one", 1, "s")]

    def run(failing):
        found = harness.Bench("x", harness.options("x", "", ["--output", str(tmp_path)]), {})
        found.part("methods: a", lambda: failing() if failing else fine())
        found.part("methods: b", fine)
        return found

    with pytest.raises(SystemExit, match=rf"methods: a \({what}\); mend it"):
        run(failing=failing).finish()
    assert len(json.loads((tmp_path / "x.json").read_bytes())["readings"]) == len(asked) == 1
    run(failing=None).finish()
    assert len(json.loads((tmp_path / "x.json").read_bytes())["readings"]) == len(asked) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_each_method_has_a_row_with_what_was_measured_of_it(bench):
    read, table = bench("figures").read, bench("unlearning_methods_table")
    found = [read("npo: forgotten probability, less the gold model's", 0.1, "difference", interval=(0.05, 0.2)),
             read("npo: training for 40 records", 86.0, "CPU-s"), read("the ladder chooses npo, on rung", 2, "rung"),
             read("idk: kept strength, of the gold model's", 0.9, "share", baseline=1.0)]  # fmt: skip
    rows = table.rows_of(["revert", "npo", "idk"], found)
    assert rows == [["npo", "0.100 (0.050 to 0.200)", *[""] * 5, "86", "yes"], ["idk", *[""] * 3, "0.9", *[""] * 4]]


@pytest.mark.parametrize("n", ["0", "1.5", "some"])
def test_a_size_is_a_number_or_full(bench, n, capsys):
    with pytest.raises(SystemExit):
        bench("harness").options("x", "", ["--n", n])
    assert "neither a number above 0 nor full" in capsys.readouterr().err


def test_every_author_of_tofu_has_records_of_one_name(bench, data):
    material = bench("material")
    rows = material.raw_records(data, 1000, 0, 1)
    assert len(rows) == 4000 and len({row["person"] for row in rows}) == 200
    assert len(material.raw_records(data, 3, 0, 1)) == 60


def test_a_planted_spelling_differs_from_the_name_unless_it_is_the_mention_itself(bench):
    from amends_unlearning.people import people

    for person in people(40, 1):
        plain = {person.name, person.email, person.phone}
        written = list(bench("spellings").spellings(person, 1))
        assert not [kind for kind, text in written if text in plain and kind != "third-party mention"]


@pytest.mark.slow
def test_distillation_in_miniature_compares_three_students_from_one_start(tmp_path):
    data = tmp_path / "text"
    data.mkdir()
    line = (
        "In the {n}th year of the harbour the keeper of the light wrote into the book that {n} boats had come home. "
        * 3
    )
    for name, first in (("wikitext2_valid.txt", 0), ("wikitext2_test.txt", 50)):
        (data / name).write_text("\n".join(line.format(n=first + n) for n in range(20)))
    figures = measured("distillation", tmp_path / "out", "--data", str(data))
    check_schema(figures)
    by_name = {reading["name"]: reading for reading in figures["readings"]}
    for arm in ("ours", "text", "trl"):
        assert by_name[f"{arm}: perplexity over the teacher's"]["value"] > 0
        assert by_name[f"{arm}: tokens shown to the student"]["value"] > 0
    assert by_name["ours: times over the text"]["value"] > 0
    assert by_name["ours against the text alone, perplexity at equal time"]["target"] == 1
    assert by_name["ours: the same, asking in every epoch"]["ratio"] > 1
