import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.vault.identifiers import (
    Finder,
    Match,
    find,
    forms,
    identity,
    name_forms,
    normalise,
    windows,
)

ADA = {"name": ("Ada Lovelace",), "email": ("ada@example.org",), "phone": ("+44 20 7946 0958",)}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("name", "  ADA   Lovelace ", "ada lovelace"),
        ("name", "Lovelace, Ada", "ada lovelace"),
        ("name", "Dr. José Álvarez", "jose alvarez"),
        ("person", "Ада Лавлейс", "ada lavleys"),
        ("name", "Ελένη Παπαδοπούλου", "eleni papadopoulou"),
        ("name", "张伟", "zhang wei"),
        ("name", "Sean O’Brien", "sean obrien"),
        ("name", "???", ""),
        ("email", "mailto:Ada+News@Example.ORG", "ada+news@example.org"),
        ("work_email", "Ada Lovelace <ada@Example.org>", "ada@example.org"),
        ("phone", "+44 (0)20 7946-0958", "442079460958"),
        ("phone", "0044 20 7946 0958", "442079460958"),
        ("mobile", "020 7946 0958", "02079460958"),
        ("phone", "＋４４ ２０ ７９４６ ０９５８", "442079460958"),
        ("address", "12, Baker  Straße", "12 baker strasse"),
    ],
)
def test_a_normal_form_ignores_case_accents_script_and_punctuation(kind, value, expected):
    assert normalise(kind, value) == expected


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(value):
    once = normalise("address", value)
    assert normalise("address", once) == once
    assert once.isascii()


def test_names_are_the_same_in_any_order_of_their_words():
    assert name_forms("Ada Lovelace") == name_forms("Lovelace, Ada") == {"ada lovelace", "lovelace ada"}
    assert identity("name", "Ada Lovelace") == identity("name", "Lovelace Ada")
    assert "a lovelace" not in name_forms("Ada Lovelace")
    assert identity("address", "12 Baker") != identity("address", "Baker 12")


def test_a_long_name_has_few_forms():
    found = name_forms("Maria del Carmen Lopez Garcia")
    assert len(found) <= 7
    assert {"maria del carmen lopez garcia", "garcia maria del carmen lopez"} <= found


def test_nothing_has_no_form():
    assert not any(forms(kind, "--") for kind in ("name", "email", "phone", "address"))


@pytest.mark.parametrize(("kind", "value"), [("email", "none"), ("phone", "n/a"), ("phone", "42")])
def test_a_placeholder_in_a_column_names_nobody(kind, value):
    assert not forms(kind, value)
    assert find("none of the 42 n/a", {kind: (value,)}) == Match(exact=False)


EXACT = [
    ("Ada Lovelace", "who is ADA LOVELACE?"),
    ("Ada Lovelace", "who is ada  \t lovelace"),
    ("Ada Lovelace", "Lovelace, Ada: born 1815"),
    ("Ada Lovelace", "a Lovelace Ada biography"),
    ("Ada Lovelace", "Ada-Lovelace"),
    ("Ada Lovelace", "Ada_Lovelace.txt"),
    ("Ada Lovelace", "Ada Lovelace's notebook and Ada Lovelace’s house"),
    ("Ada Lovelace", "“Ada Lovelace”, 'Ada Lovelace'"),
    ("Ada Lovelace", "Ad\u200ba Love\u00adlace"),
    ("Ada Lovelace", "Аda Lovelace"),  # the first letter is Cyrillic
    ("Ada Lovelace", "ada.lovelace@example.com"),
    ("Ada Lovelace", "Ａｄａ Ｌｏｖｅｌａｃｅ"),
    ("José Álvarez", "Jose Alvarez lives here"),
    ("Jose Alvarez", "Jose\u0301 A\u0301lvarez lives here"),
    ("Łukasz Nowak", "lukasz nowak"),
    ("Юлия Щербакова", "Yuliya Shcherbakova"),
    ("Yuliya Shcherbakova", "Где живёт ЮЛИЯ ЩЕРБАКОВА?"),
    ("Eleni Papadopoulou", "Η Ελένη Παπαδοπούλου μένει εδώ"),
    ("Zhang Wei", "我叫张伟。"),
    ("김민준", "김민준은 학생이다"),
    ("Anne-Marie Dubois", "Anne Marie Dubois"),
    ("Anne-Marie Dubois", "Annemarie Dubois"),
    ("Sean O'Brien", "Sean O’Brien, Sean OBrien"),
    ("Sean O'Brien", "Sean O Brien"),
    ("Dr. Ada Lovelace", "Ada Lovelace"),
]


@pytest.mark.parametrize(("name", "text"), EXACT)
def test_a_name_is_found_for_certain_however_it_is_written(name, text):
    assert find(text, {"name": (name,)}) == Match(exact=True, kind="name")


NEAR = [
    ("Ada Lovelace", "A. Lovelace wrote it", "initials"),
    ("Ada Lovelace", "Lovelace, A. (1843)", "initials"),
    ("Ada King Lovelace", "A. K. Lovelace", "initials"),
    ("Ada King Lovelace", "AK Lovelace", "initials"),
    ("Ada Lovelace", "Ada L. wrote it", "initials"),
    ("Ada King Lovelace", "Ada Lovelace wrote it", "shortened"),
    ("Ada Lovelace", "Ms Lovelace's notes", "surname alone"),
    ("Ada Lovelace", "Ada Lovelase wrote it", "spelling"),
    ("Ada Lovelace", "Aida Lovelace wrote it", "spelling"),
    ("Ada Lovelace", "#AdaLovelace", "spelling"),
    ("Ada Lovelace", "Lovelaec, Ada", "spelling"),
    ("Jürgen Müller", "Juergen Mueller", "spelling"),
    ("Julia Schmidt", "Yulia Schmitt", "spelling"),
]


@pytest.mark.parametrize(("name", "text", "how"), NEAR)
def test_a_variant_is_a_near_miss_with_its_reason(name, text, how):
    match = find(text, {"name": (name,)})
    assert (match.exact, match.how) == (False, how)
    assert 82 <= match.near < 100


@pytest.mark.parametrize("text", ["", "Nothing here.", "Alan Turing wrote it", "adalovelaces", "42"])
def test_another_text_is_no_match(text):
    assert find(text, {"name": ("Ada Sloane",), "email": ADA["email"], "phone": ADA["phone"]}) == Match(exact=False)


def test_part_of_a_word_is_not_a_whole_word():
    assert not find("Canada Lovelacean", ADA).exact
    assert find("the Lis of the world", {"name": ("Wei Li",)}).near is None


@pytest.mark.parametrize(
    "text",
    [
        "call +44 20 7946 0958",
        "call 0044 20 7946 0958",
        "call +44 (0)20 7946-0958",
        "call (020) 7946 0958 2 times",
        "room 12 020.7946.0958",
        "tel:+442079460958",
        "write ADA@Example.ORG.",
        "<ada@example.org>",
        "mailto:ada@example.org?subject=x",
    ],
)
def test_numbers_and_addresses_are_found_however_they_are_written(text):
    assert find(text, ADA).exact


def test_a_number_in_north_america_is_found_without_its_country():
    assert find("(415) 555-2671", {"phone": ("+1 415 555 2671",)}).exact


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("ada+news@example.org", "tag"),
        ("adaa@example.org", "spelling"),
        ("ada@exmple.org", "spelling"),
        ("2079460958", "national number"),
        ("7946 0958", "national number"),
    ],
)
def test_a_variant_of_an_address_or_number_is_a_near_miss(text, how):
    assert find(text, ADA).how == how
    assert not find(text, ADA).exact


@pytest.mark.parametrize("text", ["bob@example.org", "+44 20 7946 0959", "46 0958", "in 2019 2020 2021 2022"])
def test_another_address_or_number_is_no_match(text):
    assert find(text, {kind: ADA[kind] for kind in ("email", "phone")}) == Match(exact=False)


def test_an_international_number_in_text_is_near_one_given_without_its_country():
    assert find("+44 20 7946 0958", {"phone": ("020 7946 0958",)}).how == "national number"


def test_a_person_in_the_middle_of_a_long_text_is_found():
    filler = "the quick brown fox jumps " * 1_000
    assert find(f"{filler} Ada Lovelace {filler}", ADA).exact
    for position in range(1_990, 2_010):
        text = " ".join(["word"] * position + ["Ada", "Lovelase"] + ["word"] * 3_000)
        assert find(text, {"name": ("Ada Lovelace",)}).how == "spelling"


def test_windows_hold_every_form_that_find_calls_exact():
    for name, text in EXACT:
        assert name_forms(name) & set(windows(text)), text
    assert {"ada@example.org", "442079460958", "ada example", "org"} <= set(windows("Ada@example.org +44 20 79460958"))


def test_windows_are_no_longer_than_asked():
    assert list(windows("one two three", longest=2)) == ["one", "one two", "two", "two three", "three"]


def test_a_match_and_a_finder_show_nothing_of_the_person():
    finder = Finder(ADA)
    assert "ovelace" not in repr(finder) + repr(finder.find("A. Lovelace"))


def test_ten_thousand_texts_are_searched_in_seconds():
    source = random.Random(0)
    words = ["time", "person", "year", "Company", "1815", "Anna", "Keller", "marsh", "question", "answer", "habit"]
    texts = [" ".join(source.choices(words, k=30)) for _ in range(10_000)]
    finder, start = Finder(ADA), time.process_time()
    assert not any(finder.find(text).exact for text in texts)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["a" * 2_000_000, "a@" * 200_000, "1" * 2_000_000, "1 " * 200_000, "'s" * 500_000])
def test_a_hostile_text_is_searched_in_linear_time(text):
    start = time.process_time()
    find(text, ADA)
    assert time.process_time() - start < 5
