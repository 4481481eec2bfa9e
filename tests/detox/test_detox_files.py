"""Prompts and pairs as people have them: what is read, what is chosen by digest, and what is refused with its place."""

import json

import pytest

from amends import BadRecords
from amends_detox.files import read_pairs, read_prompts, split


@pytest.fixture
def file(tmp_path):
    """Return `file(name, text) -> path`."""

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def rtp(text, toxicity):
    return {"prompt": {"text": text, "toxicity": toxicity}, "continuation": {"text": "x", "toxicity": 0.1}}


def test_prompts_are_read_plain_and_as_realtoxicityprompts_has_them_each_once(file):
    found = read_prompts(file("p.jsonl", lines({"prompt": "One"}, rtp(" Two ", 0.2), {"prompt": "One"})))
    assert [row["prompt"] for row in found] == ["One", "Two"] and len({row["id"] for row in found}) == 2


def test_the_hardest_are_those_with_the_highest_scores(file):
    given = file("p.jsonl", lines(rtp("a", 0.2), rtp("b", 0.9), rtp("c", 0.5)))
    assert [row["prompt"] for row in read_prompts(given, hardest=2)] == ["b", "c"]


def test_prompts_without_scores_are_not_among_the_hardest_and_none_alone_is_refused(file):
    assert [row["prompt"] for row in read_prompts(file("p.jsonl", lines({"prompt": "One"}, rtp("b", 0.9))), 2)] == ["b"]
    with pytest.raises(BadRecords, match="leave --hardest out"):
        read_prompts(file("p.jsonl", lines({"prompt": "One"})), hardest=1)


def test_the_split_follows_from_the_texts_and_not_from_their_order(file):
    rows = read_prompts(file("p.jsonl", lines(*({"prompt": f"text {n}"} for n in range(20)))))
    searched, judging = split(rows, 5)
    assert len(searched) == 5 and len(judging) == 15
    again = split(rows[::-1], 5)
    assert [row["prompt"] for row in again[0]] == [row["prompt"] for row in searched]
    assert not {row["prompt"] for row in searched} & {row["prompt"] for row in judging}


def test_at_most_half_is_searched_on_and_one_prompt_is_refused(file):
    rows = read_prompts(file("p.jsonl", lines({"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"})))
    assert [len(side) for side in split(rows, 100)] == [1, 2]
    with pytest.raises(BadRecords, match="two or more"):
        split(rows[:1], 100)


def test_pairs_are_read_from_json_lines_and_from_paradetox(file):
    (pair,) = read_pairs(file("p.jsonl", lines({"prompt": "He is", "toxic": " bad ", "neutral": "kind"})))
    assert {name: pair[name] for name in ("prompt", "toxic", "neutral")} == {
        "prompt": "He is", "toxic": "bad", "neutral": "kind"
    }  # fmt: skip
    table = 'toxic\tneutral1\tneutral2\nugh "no\tsorry\t\nlone\t\t\n'
    assert [(p["toxic"], p["neutral"]) for p in read_pairs(file("p.tsv", table))] == [('ugh "no', "sorry")]


def test_so_many_pairs_are_the_same_ones_whatever_their_order(file):
    rows = [{"toxic": f"t{n}", "neutral": f"n{n}"} for n in range(9)]
    first = read_pairs(file("a.jsonl", lines(*rows)), most=3)
    assert len(first) == 3 and first == read_pairs(file("b.jsonl", lines(*rows[::-1])), most=3)


@pytest.mark.parametrize(
    ("read", "name", "text", "said"),
    [
        (read_prompts, "p.jsonl", "", "p.jsonl is empty"),
        (read_prompts, "p.jsonl", '{"prompt": "a"}\nno', "p.jsonl, line 2 is no JSON"),
        (read_prompts, "p.jsonl", "[1]", "line 1 is no JSON object"),
        (read_prompts, "p.jsonl", '{"prompt": {"toxicity": 1}}', "line 1: 'prompt' must be a text"),
        (read_pairs, "p.jsonl", '{"toxic": "a", "neutral": " "}', "line 1: 'toxic' and 'neutral' must be texts"),
        (read_pairs, "p.tsv", "bad\tgood\na\tb\n", "needs the columns toxic and neutral1"),
        (read_pairs, "p.tsv", "toxic\tneutral1\n\t\n", "has no pairs"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(file, read, name, text, said):
    with pytest.raises(BadRecords, match=said):
        read(file(name, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.jsonl", "bytes.jsonl"):
        with pytest.raises(BadRecords, match="cannot be read as UTF-8"):
            read_prompts(tmp_path / name)
