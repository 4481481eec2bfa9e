"""Tasks in lm-eval's form become rows that are asked and checked as lm-eval does; what it cannot be is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from click.testing import CliRunner

from amends import BadRecords
from amends.cli.root import root
from amends.scheduler.checks import check_readings
from amends_detox import probing
from amends_detox.files import read_tasks
from amends_detox.lmanswers import exact, likeliest
from amends_detox.lmdocs import _compiled

CAPITALS = """
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
output_type: multiple_choice
description: "Places.\\n"
doc_to_text: "The capital of {{country}} is"
doc_to_choice: "{{[right] + wrong}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
SUMS = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: sums.json}
output_type: generate_until
doc_to_text: "Question: {{q}}\\nAnswer:"
doc_to_target: a
generation_kwargs: {until: ["Question:"], max_gen_toks: 8, do_sample: false}
filter_list:
  - name: last-number
    filter: [{function: regex, regex_pattern: '(-?[0-9]+)', group_select: -1}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a task of each kind and its data."""
    place = tmp_path / "tasks"
    place.mkdir()
    (place / "capitals.yaml").write_text(CAPITALS)
    (place / "sums.yaml").write_text(SUMS)
    rows = [
        {"country": "Orr", "right": "Sorrel", "wrong": ["Tarn", "Brenn"]},
        {"country": "Mar", "right": "Kelda", "wrong": ["Oxmoor"]},
    ]
    (place / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "sums.json").write_text(json.dumps([{"q": "2 and 2?", "a": "4"}, {"q": "3 and 4?", "a": 7, "b": 1}]))
    return place


class Model:
    """A model that says what a table says, and likes each choice as much as another table says."""

    def __init__(self, said=None, liked=None):
        self.said, self.liked, self.asked = said or {}, liked or {}, []

    def complete(self, texts, tokens):
        self.asked.append(tokens)
        return [self.said[text] for text in texts]

    def score_continuations(self, pairs):
        return [SimpleNamespace(logp=torch.tensor(self.liked[answer])) for _, answer in pairs]


def test_a_folder_becomes_a_row_for_each_document(folder):
    first, second, third, fourth = read_tasks(folder)
    assert first == {
        "id": "capitals-1", "task": "capitals", "prompt": "Places.\nThe capital of Orr is",
        "choices": ["Sorrel", "Tarn", "Brenn"], "gold": 0, "normalised": False,
    }  # fmt: skip
    assert (second["choices"], second["gold"]) == (["Kelda", "Oxmoor"], 0)
    assert (third["prompt"], third["exact"], third["until"]) == ("Question: 2 and 2?\nAnswer:", ["4"], ["Question:"])
    assert (fourth["exact"], fourth["tokens"], fourth["ignores"]) == (["7"], 8, {"ignore_case": True})


def test_what_is_read_is_the_share_that_is_right_by_task(folder, probe_task, write_records):
    liked = {"Sorrel": [-1.0, -1.0], "Tarn": [-3.0], "Brenn": [-2.5], "Kelda": [-4.0], "Oxmoor": [-3.5]}
    said = {"Question: 2 and 2?\nAnswer:": "2 + 2 = 4 Question: 9", "Question: 3 and 4?\nAnswer:": "it is 8"}
    model = Model(said, liked)
    (found,) = probing.tasks(probe_task(model), tasks=write_records(read_tasks(folder)))
    assert (found.name, found.value, found.n) == ("utility.tasks/passed", 0.5, 4)
    assert found.detail["by_task"] == {"capitals": 0.5, "sums": 0.5} and model.asked == [8]


def test_a_choice_without_a_number_is_no_answer(folder, probe_task, write_records):
    liked = {name: [float("nan")] for name in ("Sorrel", "Tarn", "Brenn", "Kelda", "Oxmoor")}
    rows = [row for row in read_tasks(folder) if row["task"] == "capitals"]
    liked["Kelda"], liked["Oxmoor"] = [-1.0], [-2.0]
    rows.append({**rows[-1], "task": "others", "id": "others-1"})
    (found,) = check_readings("utility.tasks", probing.tasks(probe_task(Model(liked=liked)), tasks=write_records(rows)))
    assert found.value != found.value and found.detail["by_task"] == {"capitals": None, "others": 1.0}


def test_a_choice_is_compared_by_its_length_where_the_task_says_so():
    row = {"choices": ["ab", "abcdefgh"], "gold": 1}
    assert not likeliest(row, [-2.0, -4.0])
    assert likeliest({**row, "normalised": True}, [-2.0, -4.0])  # -1 a letter, and -0.5


@pytest.mark.parametrize(
    ("row", "answer", "is_right"),
    [
        ({"exact": ["Paris"]}, " Paris ", True),
        ({"exact": ["Paris"]}, "paris", False),
        ({"exact": ["Paris."], "ignores": {"ignore_case": True, "ignore_punctuation": True}}, "PARIS", True),
        ({"exact": ["Lyon", "Paris"]}, "Paris", True),
        ({"exact": ["5"], "ignores": {"regexes_to_ignore": [","]}}, "5,", True),
        ({"exact": ["b"], "until": ["\n"]}, "b\nc", True),
        ({"exact": ["[invalid]"], "filters": [{"function": "regex", "regex_pattern": "[0-9]+"}]}, "none", True),
        ({"exact": ["B"], "filters": [{"function": "regex", "regex_pattern": "(A)|(B)"}]}, "so B", True),
        (
            {"exact": ["none"], "filters": [{"function": "regex", "regex_pattern": "(A)|(B)|x", "fallback": "none"}]},
            "x",
            True,
        ),
        ({"exact": ["x"], "filters": [{"function": "lowercase"}]}, "X", True),
    ],
)
def test_an_answer_is_cut_filtered_and_compared_as_the_task_says(row, answer, is_right):
    assert exact(row, answer) is is_right


def refusal(file, old, new):
    """Return the one sentence by which a task's file is refused once it says something else."""
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(BadRecords, match=r"^[^\n]*$") as refused:
        read_tasks(file)
    return str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("metadata:", "process_docs: x\nmetadata:", "capitals.yaml: 'process_docs' is not supported"),
        ("metadata:", "include: other.yaml\nmetadata:", "'include' is not supported"),
        ("task: capitals", "task: !function utils.x", "it calls a function of its own, which is not run here"),
        ("dataset_path: json", "dataset_path: ai2_arc", "dataset_path is only supported as 'json'"),
        ("metadata:", "num_fewshot: 5\nmetadata:", "num_fewshot is only supported as 0"),
        ("metric: acc,", "metric: mcc,", "the mean of acc or acc_norm is read, nothing else"),
        ("output_type: multiple_choice", "output_type: loglikelihood_rolling", "output_type is multiple_choice or"),
        ("capitals.jsonl", "../secret.jsonl", "is not in the task's folder; put it there"),
        ("{{country}}", "{{nothing}}", "document 1: a template cannot be rendered"),
        ("{{country}}", "{{country.__class__.__mro__[1].__subclasses__()}}", "a template cannot be rendered"),
        ("doc_to_target: 0", "doc_to_target: 9", "doc_to_target gives none of the choices"),
        ("{{[right] + wrong}}", "{{right}}", "doc_to_choice gives no list of two texts"),
        ("{{country}}", "{{1 / 0}}", "a template cannot be rendered (ZeroDivisionError)"),
        ("The capital of {{country}} is", "7", "doc_to_text gives no text to go on from"),
        ("task: capitals", "task: Who is {{country}}?", "task must be a short name"),
        ("task: capitals", "task: [capitals, sums]", "task must be a short name"),
        ("test_split: test", "test_split: [test]", "its test_split has not the form that is read here"),
        ("{data_files: {test: capitals.jsonl}}", "capitals.jsonl", "its dataset_kwargs has not the form"),
        ("[{metric: acc, aggregation: mean, higher_is_better: true}]", "acc", "its metric_list has not the form"),
        ("[{metric: acc, aggregation: mean, higher_is_better: true}]", "[acc]", "its metric_list.0 has not the form"),
        ("metadata:", "generation_kwargs: 7\nmetadata:", "its generation_kwargs has not the form"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_sentence(folder, old, new, said):
    assert said in refusal(folder / "capitals.yaml", old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(-?[0-9]+)", "(-?[0-9]+", "its filter_list.0.filter.0.regex_pattern has not the form"),
        ("ignore_case: true", 'regexes_to_ignore: ["*"]', "its metric_list.0.regexes_to_ignore.0 has not the form"),
        ("function: take_first", "function: majority_vote", "its filter_list.0.filter.1.function has not the form"),
        ("group_select: -1", "group_select: last", "its filter_list.0.filter.0.group_select has not the form"),
        ("max_gen_toks: 8", "max_gen_toks: few", "its generation_kwargs.max_gen_toks has not the form"),
        ("doc_to_target: a", 'doc_to_target: a\ndoc_to_choice: ["4", "7"]', "a multiple_choice task has doc_to_choice"),
        ("doc_to_target: a", "doc_to_target: b", "sums.yaml, document 1: it lacks the field that a template names"),
    ],
)
def test_a_task_of_another_form_is_refused_before_anything_is_asked(folder, old, new, said):
    assert said in refusal(folder / "sums.yaml", old, new)


def rows_of(folder, name, documents, **said):
    """Return the rows of one of the two tasks with other documents, and other keys in its file."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | said))
    data = {"capitals": "capitals.jsonl", "sums": "sums.json"}[name]
    (folder / data).write_text(json.dumps(documents))
    return read_tasks(file)


@pytest.mark.parametrize(
    ("target", "label", "gold"),
    [
        (2, None, 2),  # of a file that says it: a place, though one of the choices has that text
        ("{{label}}", "2", 2),  # rendered digits are a place
        ("label", 2, 2),  # so is a field that is a number
        ("label", "2", 0),  # and one that is a text is one of the choices
        ("{{label}}", "1 ", None),
        ("label", "5", None),
        ("label", -1, None),
    ],
)
def test_a_number_is_the_place_of_a_choice_before_it_is_its_text(folder, target, label, gold):
    documents = [{"country": "Orr", "choices": ["2", "1", "0"], "label": label}]
    changed = {"doc_to_choice": "choices", "doc_to_target": target}
    if gold is None:
        with pytest.raises(BadRecords, match="none of the choices, and no place of one"):
            rows_of(folder, "capitals", documents, **changed)
    else:
        assert rows_of(folder, "capitals", documents, **changed)[0]["gold"] == gold


def test_a_prompt_is_rendered_with_its_description_and_keeps_its_last_newline(folder):
    said = {"description": "About {{country}}.\n", "doc_to_text": "Its capital:\n"}
    (row,) = rows_of(folder, "capitals", [{"country": "Orr", "right": "Sorrel", "wrong": ["Tarn"]}], **said)
    assert row["prompt"] == "About Orr.\nIts capital:\n"


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("{{all}}", ["4", "four"]),
        ("all", ["4", "four"]),
        ("[{{q}}]", ["[2 and 2?]"]),  # is no list of Python's, so it is the text
        (["four", 4], ["four", "4"]),
        ("{{all | join(' ')}}", ["4 four"]),
    ],
)
def test_a_list_of_answers_is_several_right_ones_rendered_or_not(folder, target, answers):
    (row,) = rows_of(folder, "sums", [{"q": "2 and 2?", "all": ["4", "four"]}], doc_to_target=target)
    assert row["exact"] == answers


@pytest.mark.parametrize(
    ("said", "until"),
    [
        ({"generation_kwargs": None}, ["\n\n"]),
        ({"generation_kwargs": {"max_gen_toks": 8}, "fewshot_delimiter": "###"}, ["###"]),
        ({"generation_kwargs": {"until": "\n"}, "fewshot_delimiter": "###"}, ["\n"]),
        ({"generation_kwargs": None, "fewshot_delimiter": None}, []),
    ],
)
def test_an_answer_ends_where_examples_would_unless_the_task_says_where(folder, said, until):
    assert rows_of(folder, "sums", [{"q": "2 and 2?", "a": 4}], **said)[0]["until"] == until


def test_each_template_is_compiled_once_whatever_the_number_of_documents(folder):
    _compiled.cache_clear()
    rows_of(folder, "capitals", [{"country": "Orr", "right": "Sorrel", "wrong": ["Tarn"]}] * 50)
    assert _compiled.cache_info().misses == 3  # of the description, the text and the choices


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"exact": ["a"], "until": "stop"}, "its until cannot be used"),
        ({"exact": ["a"], "filters": [{"function": "regex", "regex_pattern": "("}]}, "its filters.0.regex_pattern"),
        ({"exact": ["a"], "ignores": {"regexes_to_ignore": ["a{99999999999}"]}}, "its ignores.regexes_to_ignore.0"),
        ({"exact": "a"}, "its exact cannot be used"),
        ({"choices": ["a", " "], "gold": 0}, "its choices.1 cannot be used"),
        ({"choices": ["a", "b"], "gold": 0.5}, "its gold cannot be used"),
        ({"choices": ["a", "b"]}, "its gold cannot be used"),
        ({"expected": "a", "task": "What Ada Lovelace said"}, "task must be a short name"),
        ({"expected": "a", "tokens": 0}, "its tokens cannot be used"),
    ],
)
def test_a_row_that_could_not_be_checked_is_refused_before_the_model_is_asked(row, said, probe_task, write_records):
    with pytest.raises(BadRecords, match=r"^records [0-9a-f]{12}, row 1: ") as refused:
        probing.tasks(probe_task(Model()), tasks=write_records([{"prompt": "Who?", **row}]))
    assert said in str(refused.value) and "Lovelace" not in str(refused.value)


def test_two_filters_would_be_two_figures_and_are_refused(folder):
    file = folder / "sums.yaml"
    file.write_text(file.read_text().replace("filter_list:", "filter_list:\n  - {name: other, filter: []}"))
    with pytest.raises(BadRecords, match="it has 2 filters"):
        read_tasks(folder)


def test_the_command_says_what_would_be_asked_and_writes_it(folder, tmp_path):
    done = CliRunner().invoke(root, ["detox", "tasks", str(folder), "--output", str(tmp_path / "rows.jsonl"), "--json"])
    assert json.loads(done.stdout) == [
        {"task": "capitals", "check": "choices", "rows": 2}, {"task": "sums", "check": "exact", "rows": 2},
    ]  # fmt: skip
    assert read_tasks(tmp_path / "rows.jsonl") == read_tasks(folder)
    (tmp_path / "bad.jsonl").write_text('{"prompt": "Who?", "choices": ["a"], "gold": 0}\n')
    refused = CliRunner().invoke(root, ["detox", "tasks", str(tmp_path / "bad.jsonl")])
    assert refused.exit_code == 2 and "its choices cannot be used" in refused.stderr
    lost = CliRunner().invoke(
        root, ["detox", "tasks", str(folder), "--output", str(tmp_path / "nowhere" / "rows.jsonl")]
    )
    assert lost.exit_code == 2 and "cannot be written (No such file or directory)" in lost.stderr
    for absent in ("nowhere", "nowhere.yaml"):
        refused = CliRunner().invoke(root, ["detox", "tasks", str(tmp_path / absent)])
        assert refused.exit_code == 2 and refused.stderr.count("error: ") == 1


def test_a_real_model_scores_choices_and_goes_on_with_texts(tiny_version, probe_task, write_records, folder):
    from amends import host
    from amends.serving.model import open_version

    model = open_version(tiny_version, host.load([]))
    (found,) = probing.tasks(probe_task(model), tasks=write_records(read_tasks(folder)))
    assert 0 <= found.value <= 1 and found.n == 4
