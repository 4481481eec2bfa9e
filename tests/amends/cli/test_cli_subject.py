"""Whom a request is about is read from a stream, in three ways of writing, and never repeated in an error."""

from __future__ import annotations

import pytest

from amends.cli.subject import parse_subject, read_subject
from amends.cli.times import read_time
from amends.cli.values import read_values
from amends.errors import BadInput

ADA = {"name": ("Ada Quill",), "email": ("ada@quill.example",)}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada Quill", "email": "ada@quill.example"}',
        '{"name": ["Ada Quill"], "email": ["ada@quill.example"], "phone": []}',
        "name: Ada Quill\nemail: ada@quill.example\n",
        "\n  Name :  Ada Quill  \r\n\nEMAIL: ada@quill.example",
        "\nname: Ada Quill\nemail: ada@quill.example\nphone:\n",
    ],
)
def test_three_ways_of_writing_say_the_same(text):
    assert parse_subject(text) == ADA


def test_one_bare_line_is_a_name():
    assert parse_subject("Ada Quill\n") == {"name": ("Ada Quill",)}


def test_one_line_with_a_kind_is_not_a_name():
    assert parse_subject("email: ada@quill.example") == {"email": ("ada@quill.example",)}


def test_a_name_given_twice_is_kept_twice():
    assert parse_subject("name: Ada Quill\nname: Ada Brook")["name"] == ("Ada Quill", "Ada Brook")


def test_a_receipt_is_read_only_where_it_is_asked_for():
    assert parse_subject("receipt: 00ff\nname: Ada", extra=("receipt",))["receipt"] == ("00ff",)
    with pytest.raises(BadInput, match="line 1"):
        parse_subject("receipt: 00ff\nname: Ada")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\n",
        "name:\n",
        "name: Ada Quill\nQuill Ada\n",
        "name: Ada Quill\nnickname: Quilly\n",
        '{"name": "Ada Quill"',
        '{"nickname": "Quilly"}',
        '{"name": {"first": "Quilly"}}',
        '["Ada Quill"]',
        "{" * 100_000,
    ],
)
def test_what_cannot_be_understood_is_refused_without_repeating_it(text):
    with pytest.raises(BadInput) as refused:
        parse_subject(text)
    assert "Quill" not in str(refused.value)


@pytest.mark.parametrize("value", ["Ada Quill", "ada@quill.example", "/no/such/file"])
def test_a_subject_as_an_argument_is_refused_and_says_why(value):
    with pytest.raises(BadInput, match="process list") as refused:
        read_subject(value)
    assert value not in str(refused.value)


def test_a_file_is_read(tmp_path):
    file = tmp_path / "person.txt"
    file.write_text("\ufeffname: Ada Quill\nemail: ada@quill.example\n", encoding="utf-8")
    assert read_subject(str(file)) == ADA


@pytest.mark.parametrize(("data", "why"), [(b"name: \xff", "UTF-8 at byte 7"), (b"x" * 70_000, "longer than")])
def test_a_file_that_cannot_be_a_subject_is_refused(tmp_path, data, why):
    (tmp_path / "person.txt").write_bytes(data)
    with pytest.raises(BadInput, match=why):
        read_subject(str(tmp_path / "person.txt"))


PARAMETERS = [
    {"name": "shards", "type": "int"},
    {"name": "lr", "type": "float"},
    {"name": "scratch", "type": "bool"},
    {"name": "salt", "type": "str"},
]


def test_parameters_are_read_as_their_declared_types():
    given = ["shards=4", "lr=2e-3", "scratch=yes", "salt=a=b"]
    assert read_values(given, PARAMETERS) == {"shards": 4, "lr": 0.002, "scratch": True, "salt": "a=b"}


@pytest.mark.parametrize("given", [["shards"], ["=4"], ["shards=four"], ["scratch=maybe"], ["shards=1", "shards=2"]])
def test_a_parameter_that_cannot_be_read_is_refused(given):
    with pytest.raises(BadInput):
        read_values(given, PARAMETERS)


@pytest.mark.parametrize("text", ["tomorrow", "2026-01-31", "2026-01-31T09:00:00"])
def test_a_time_without_its_zone_is_refused(text):
    with pytest.raises(BadInput, match=r"2026-01-31T09:00:00\+01:00"):
        read_time(text, "--received-at")


def test_a_time_keeps_its_zone():
    assert read_time("2026-01-31T09:00:00+01:00", "--received-at").isoformat() == "2026-01-31T09:00:00+01:00"
