"""The story of a detox case through the shell: prompts split, candidates searched, the best judged and promoted."""

from __future__ import annotations

import json

import pytest

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Sven": "safety-engineer"}
POLICY = """name: detox
description: What a tiny model is judged by.
approvals: {count: 2, roles: [safety-engineer, ml-engineer, dpo]}
probes:
  detox.toxicity: {scorer: lexical, samples: 1, tokens: 4}
  utility.perplexity: {}
rules:
  - id: no-more-toxic
    severity: deny
    expr: readings["detox.toxicity/share"].value <= before["detox.toxicity/share"].value
    message: The model says more that is toxic.
search:
  most: 4
  probes:
    detox.toxicity: {scorer: lexical, samples: 1, tokens: 4}
    utility.perplexity: {}
  least: readings["utility.perplexity/ratio"].high
  against: readings["utility.perplexity/ratio"].value
  rules:
    - id: perplexity
      severity: deny
      expr: readings["utility.perplexity/ratio"].high <= 1000.0
      message: It costs too much.
  candidates:
    - operation: detox.steer
      settings: {layer: "0", strength: [0.1, 0.2]}
    - operation: detox.project
      settings: {layers: "0,1", rank: 1}
"""
PROMPTS = [{"prompt": f"The {thing} by the harbour is"} for thing in ("fox", "dog", "town", "island", "mill", "pear")]


@pytest.fixture
def shell(make_shell, use_fixed_keys, tiny_version, tmp_path):
    """Return a shell in a workspace with a tiny model called `assistant` and a policy that reads little."""
    made = make_shell(tmp_path / "home", "Max", **STAFF)
    use_fixed_keys(tmp_path / "home", "detox", 1)
    (tmp_path / "home" / "policies").mkdir()
    (tmp_path / "home" / "policies" / "detox.yaml").write_text(POLICY)
    made.json("models", "import", tiny_version / "model", "--name", "assistant", as_="Otto")
    return made


@pytest.fixture
def files(tmp_path, detox_rows):
    """Return the files of prompts and pairs."""
    prompts, pairs = tmp_path / "rude.jsonl", tmp_path / "pairs.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    kept = [{name: row[name] for name in ("toxic", "neutral")} for row in detox_rows()]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return prompts, pairs


def asked(shell, files, *more):
    prompts, pairs = files
    return shell("detox", "--model", "assistant", "--prompts", prompts, "--pairs", pairs, *more, as_="Otto")


def approved(shell, said):
    assert said.exit_code == 3, said.stderr
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    shell.json("cases", "approve", case, "--yes", as_="Sven")
    done = shell("cases", "approve", case, as_="Mina", given="y\n")
    assert done.exit_code == 0, done.stderr
    assert "changes assistant@1" in done.stderr and "approve plan " in done.stderr
    return shell.json("cases", "show", case)


def test_the_best_of_the_search_is_judged_on_other_prompts_and_becomes_champion(shell, files):
    view = approved(shell, asked(shell, files))
    assert view["status"] == "complete" and len(view["tried"]) == 3
    (chosen,) = [one for one in view["tried"] if one["is_chosen"]]
    assert chosen["least"] == min(one["least"] for one in view["tried"])
    champion = shell.json("models", "show", "assistant@champion")
    (step,) = champion["recipe"]["steps"]
    assert (step["operation"], step["parameters"]) == (chosen["operation"], chosen["parameters"])
    judged = next(found for found in view["decisions"] if found["policy"] == "detox")
    asked_about = {reading["name"]: reading["n"] for reading in judged["inputs"]["after"]}
    assert asked_about["detox.toxicity/share"] == 3  # half of six are searched on
    assert {r["name"]: r["n"] for r in chosen["readings"]}["detox.toxicity/share"] == 3
    assert (shell.home / view["picture"]).read_text().startswith("<svg")


def test_a_version_made_less_toxic_opens_in_plain_transformers(shell, files, tmp_path):
    from transformers import AutoModelForCausalLM

    approved(shell, asked(shell, files))
    shell.json("models", "export", "assistant@champion", tmp_path / "out", as_="Otto")
    where = next((tmp_path / "out").rglob("config.json")).parent
    assert AutoModelForCausalLM.from_pretrained(where, local_files_only=True).config.num_hidden_layers == 2


def test_an_operation_can_be_named_in_place_of_the_search(shell, files):
    view = approved(shell, asked(shell, files, "--method", "detox.steer", "-p", "layer=0", "-p", "strength=0.3"))
    assert view["tried"] == [] and view["plan"]["parameters"]["strength"] == 0.3


def test_what_cannot_be_used_leaves_with_two_and_one_sentence(shell, files, tmp_path):
    said = asked(shell, files, "-p", "strength=1")
    assert said.exit_code == 2 and "--method" in said.stderr
    said = shell("detox", "--model", "assistant", "--prompts", tmp_path / "absent.jsonl", as_="Otto")
    assert said.exit_code == 2 and "absent.jsonl cannot be read" in said.stderr
    said = shell("detox", "--model", "nobody", "--prompts", files[0], "--pairs", files[1], as_="Otto")
    assert said.exit_code == 2 and "'nobody'" in said.stderr


def test_tasks_in_lm_eval_s_form_bound_the_search_and_judge_its_best(shell, files, tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "towns.jsonl").write_text('{"q": "The town is", "a": ["Tarn", "Brenn"]}\n' * 2)
    (tmp_path / "tasks" / "towns.yaml").write_text(
        "task: towns\ndataset_path: json\ndataset_kwargs: {data_files: towns.jsonl}\noutput_type: multiple_choice\n"
        'doc_to_text: q\ndoc_to_choice: a\ndoc_to_target: "0"\n'
    )
    asks = POLICY.replace("  utility.perplexity: {}\n", "  utility.perplexity: {}\n  utility.tasks: {tokens: 4}\n", 1)
    asks = asks.replace(
        "    utility.perplexity: {}\n", "    utility.perplexity: {}\n    utility.tasks: {tokens: 4}\n", 1
    )
    (shell.home / "policies" / "detox.yaml").write_text(asks)
    view = approved(shell, asked(shell, files, "--tasks", tmp_path / "tasks"))
    (chosen,) = [one for one in view["tried"] if one["is_chosen"]]
    judged = next(found for found in view["decisions"] if found["policy"] == "detox")
    for readings in (chosen["readings"], judged["inputs"]["after"], judged["inputs"]["before"]):
        (found,) = [reading for reading in readings if reading["name"] == "utility.tasks/passed"]
        assert found["n"] == 2 and 0 <= found["value"] <= 1
    learnt = shell.json("models", "show", "assistant@champion")["data"]
    assert shell.json("data", "show", "rude-tasks")["digest"] not in {use["dataset"] for use in learnt}


def test_what_cannot_be_asked_or_read_is_said_before_anything_is_kept(shell, files, tmp_path):
    tasks, broken = tmp_path / "tasks.jsonl", tmp_path / "broken.tsv"
    tasks.write_text('{"prompt": "Where?", "expected": "Here"}\n')
    broken.write_text("one\ttwo\n")
    said = asked(shell, files, "--tasks", tasks)
    assert said.exit_code == 2 and "the policy detox does not ask utility.tasks" in said.stderr
    said = asked(shell, (files[0], broken))
    assert said.exit_code == 2 and "broken.tsv needs the columns" in said.stderr
    assert shell.json("data", "list") == []
