"""Refusals and compliance through the chat template, and tasks that a machine can check."""

import copy
import math
import urllib.request
from dataclasses import replace

import pytest
from referencing.exceptions import Unresolvable

from amends import BadInput, BadRecords, host
from amends_detox import probing
from amends_detox.chatting import messages_of, replies, template_of
from amends_detox.refusing import complied, judge_identity, refuses
from amends_detox.safety import shipped_lines
from amends_detox.scoring import find, identity
from amends_detox.scoring.checked import scores
from amends_detox.tasks import check_row, passes

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot provide instructions for that.",
    "I’m unable to assist with this request.",
    "As an AI language model, I am not able to do this.",
    "Sorry, I can't do that.",
    "It is illegal to do so, and you should talk to a lawyer.",
    "I must decline to answer.",
    "Unfortunately, I am not allowed to say.",
)
ANSWERS = (
    "To kill a process, run kill -9 with its number.",
    "Sure! Here is how you do it: first, take the eggs.",
    "Sorry to hear that your sink is blocked. Pour hot water into it.",
    "You can't go wrong with a hot oven and a sharp knife.",
    "The battle of Hastings was fought in 1066.",
    "I think that the opening can be attacked with b4.",
)


@pytest.fixture(scope="module")
def model(tiny_version):
    from amends.serving.model import open_version

    return open_version(tiny_version, host.load([]))


@pytest.fixture(scope="module")
def chat(model):
    """Return the tiny model with a chat template."""
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}"
        "{% if m.role == 'system' and 'never' in m.content %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return replace(model, tokenizer=tokenizer)


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_is_one(answer):
    assert refuses(answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_no_refusal(answer):
    assert not refuses(answer)


def test_what_is_said_late_in_an_answer_is_no_refusal():
    assert not refuses("Take two eggs and a bowl. " * 12 + REFUSALS[0])


def test_an_empty_answer_neither_complies_nor_refuses():
    values = complied("rules", ["q"] * 3, [REFUSALS[0], ANSWERS[0], "  "])
    assert values[:2] == [0.0, 1.0] and math.isnan(values[2])


def test_only_a_scorer_of_compliance_judges():
    with pytest.raises(BadInput, match="does not score compliance"):
        judge_identity("lexical")


def user(text):
    return {"role": "user", "content": text}


def test_a_conversation_gets_the_system_prompt_unless_it_brings_its_own():
    row = {"messages": [user("hello")]}
    assert messages_of(row, "here", "be kind")[0] == {"role": "system", "content": "be kind"}
    own = {"messages": [{"role": "system", "content": "be brief"}, user("hello")]}
    assert messages_of(own, "here", "be kind") == own["messages"]


@pytest.mark.parametrize(
    "messages",
    [None, [], [user("")], [user("a"), {"role": "assistant", "content": "b"}], [{"role": "tool", "content": "a"}]],
)
def test_what_is_no_conversation_is_refused(messages):
    with pytest.raises(BadRecords, match="here: messages"):
        messages_of({"messages": messages}, "here")


def test_replies_follow_the_chat_template_and_else_the_one_of_amends(model, chat, probe_task):
    asked = [[user("Where does Ada live?")], [user("a"), {"role": "assistant", "content": "b"}, user("The fox")]]
    assert (template_of(model), template_of(chat)) == ("question", "chat")
    assert replies(probe_task(model), model, asked[:1], 6) == model.generate(["Where does Ada live?"], 6)
    said = replies(probe_task(chat), chat, asked, 6)
    texts = ["<user>Where does Ada live?\n<assistant>", "<user>a\n<assistant>b\n<user>The fox\n<assistant>"]
    assert said == chat.complete(texts, 6)


def test_a_template_that_refuses_a_conversation_is_named_without_its_words(chat, probe_task):
    asked = [[{"role": "system", "content": "never"}, user("secret")]]
    with pytest.raises(BadRecords, match="chat template refuses") as caught:
        replies(probe_task(chat), chat, asked, 4)
    assert "secret" not in str(caught.value)


def test_compliance_is_read_with_its_judge_and_template(chat, probe_task, write_records):
    rows = write_records([{"id": str(n), "messages": [user(f"How do I do {n}?")]} for n in range(3)])
    for probe, given in (
        (probing.harmful_compliance, {"conversations": rows}),
        (probing.jailbreak, {"jailbreaks": rows}),
    ):
        found = {r.name.removeprefix(f"{probe.name}/"): r for r in probe(probe_task(chat), tokens=6, **given)}
        assert set(found) == {"complied", "refused", "empty"}
        assert found["complied"].value + found["refused"].value == pytest.approx(1.0)
        assert found["complied"].detail["judge"].startswith("rules@") and found["complied"].detail["template"] == "chat"


def test_the_shipped_lists_are_long_and_without_doubles():
    for name in ("benign", "identity"):
        lines = shipped_lines(name)
        assert len(lines) == len(set(lines)) >= 40


def test_over_refusal_reads_refusals_and_how_sentences_about_people_go_on(chat, probe_task):
    found = {r.name.partition("/")[2]: r for r in probing.over_refusal(probe_task(chat), scorer="lexical", samples=1)}
    assert set(found) == {"refused", "empty", "identity_toxic"}
    assert found["identity_toxic"].detail["scorer"] == identity(find("lexical"))
    assert 0 <= found["identity_toxic"].value <= 1 and found["refused"].n >= 30


def test_a_judge_model_weighs_yes_against_no(tiny_version):
    judge = find(f"judge-model:{tiny_version}")
    found = scores(judge, ["a text", "another"])
    assert judge.attributes == ("toxicity", "compliance") and found.shape == (2, 2)
    values = complied(f"judge-model:{tiny_version}", ["q", "q"], ["an answer", ""])
    assert values[0] in (0.0, 1.0) and math.isnan(values[1])
    with pytest.raises(BadInput, match="judge-model:DIR"):
        find("judge-model")


@pytest.mark.parametrize(
    ("row", "answer", "is_right"),
    [
        ({"expected": "42"}, "42.", True),
        ({"expected": "Forty two"}, "forty-two, I think", True),
        ({"expected": "42"}, "I think 42", False),
        ({"expected": "42"}, "", False),
        ({"regex": r"\b\d{4}\b"}, "in 1066, they say", True),
        ({"regex": r"\b\d{4}\b"}, "long ago", False),
        ({"schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', True),
        ({"schema": {"type": "object", "required": ["a"]}}, '{"b": 1}', False),
        ({"schema": {"type": "object"}}, "not JSON", False),
    ],
)
def test_a_task_passes_by_its_check(row, answer, is_right):
    check_row(row, "here")
    assert passes(row, answer) is is_right


@pytest.mark.parametrize(
    "row", [{}, {"expected": "a", "regex": "b"}, {"regex": "("}, {"schema": {"type": 3}}, {"expected": "?"}]
)
def test_a_task_that_cannot_be_checked_is_refused(row):
    with pytest.raises(BadRecords, match="here"):
        check_row(row, "here")


def test_a_schema_fetches_nothing(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("a schema was fetched"))
    with pytest.raises(Unresolvable):
        passes({"schema": {"$ref": "http://127.0.0.1:9/schema.json"}}, "1")


def test_the_share_of_tasks_that_pass_is_read(table_model, probe_task, write_records):
    rows = [{"id": "1", "prompt": "p", "expected": "yes"}, {"id": "2", "prompt": "q", "regex": "no"}]
    (found,) = probing.tasks(probe_task(table_model({}, {"p": "Yes.", "q": "yes"})), tasks=write_records(rows))
    assert (found.value, found.n) == (0.5, 2)
    (none,) = probing.tasks(probe_task(table_model({})), tasks=write_records([]))
    assert math.isnan(none.value)
