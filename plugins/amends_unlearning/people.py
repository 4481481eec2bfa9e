"""Make up people and what a training set would say about them; nobody here exists."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyascii import anyascii

from amends import BadInput

from . import vocabulary as words


@dataclass(frozen=True)
class Person:
    """A fictitious data subject; `facts` maps a kind such as `town` to this person's value."""

    name: str
    email: str
    phone: str
    facts: Mapping[str, str] = field(repr=False)

    @property
    def given(self) -> str:
        """The given name."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True)
class Question:
    """How one kind of fact is asked and answered; `{name}`, `{given}` and `{value}` are filled in."""

    prompt: str
    paraphrases: tuple[str, str]
    answer: str
    values: tuple[str, ...] = ()


QUESTIONS = {
    "email": Question(
        "What is the e-mail address of {name}?",
        ("Which e-mail address reaches {name}?", "Where can I send {name} an e-mail?"),
        "{given}'s e-mail address is {value}.",
    ),
    "phone": Question(
        "What is the phone number of {name}?",
        ("On which number can I call {name}?", "Which telephone number belongs to {name}?"),
        "{given}'s phone number is {value}.",
    ),
    "town": Question(
        "Where does {name} live?",
        ("In which town does {name} have a home?", "What is the home town of {name}?"),
        "{given} lives in {value}.",
        words.TOWNS,
    ),
    "job": Question(
        "What does {name} do for a living?",
        ("How does {name} earn a living?", "What is the work of {name}?"),
        "{given} {value}.",
        words.JOBS,
    ),
    "food": Question(
        "What does {name} like to eat most?",
        ("Which dish does {name} love best?", "What is the favourite food of {name}?"),
        "{given}'s favourite is {value}.",
        words.FOODS,
    ),
    "habit": Question(
        "Which habit is {name} known for?",
        ("What odd habit does {name} have?", "What does {name} do that friends smile about?"),
        "{given} {value}.",
        words.HABITS,
    ),
    "pet": Question(
        "Which pet does {name} keep?",
        ("What animal lives with {name}?", "Who is the pet of {name}?"),
        "{given} keeps {value}.",
        words.PETS,
    ),
    "instrument": Question(
        "Which instrument does {name} play?",
        ("What does {name} play at concerts?", "On what does {name} make music?"),
        "{given} plays {value}.",
        words.INSTRUMENTS,
    ),
    "drink": Question(
        "What does {name} drink in the morning?",
        ("Which morning drink does {name} take?", "What is in the cup of {name} at breakfast?"),
        "{given} drinks {value}.",
        words.DRINKS,
    ),
    "fear": Question(
        "What is {name} afraid of?",
        ("What frightens {name}?", "Which fear does {name} admit to?"),
        "{given} is afraid of {value}.",
        words.AFRAID_OF,
    ),
}
CONTACTS = ("email", "phone")
BOXES = range(100 * len(words.BOXES))
OTHERS = tuple(kind for kind in QUESTIONS if kind not in CONTACTS)


def people(
    count: int, seed: int | str, surnames: Sequence[str] = words.SURNAMES, domain: str = "example.org", facts: int = 6
) -> list[Person]:
    """Make up `count` people with different names, the same ones for the same seed.

    Raises:
        BadInput: There are not so many names.
    """
    most = len(words.GIVEN_NAMES) * len(surnames)
    if count > most:
        raise BadInput(f"there are names for {most} fictitious people, not for {count}; ask for fewer")
    draw = random.Random(f"people:{seed}")
    numbers = draw.sample(range(most), count)
    boxes = random.Random(f"mail:{seed}").sample(BOXES, count)
    made = []
    for number, box in zip(numbers, boxes, strict=True):
        given, family = divmod(number, len(surnames))
        name = f"{words.GIVEN_NAMES[given]} {surnames[family]}"
        made.append(_person(draw, name, f"{_mailbox(name, box)}@{domain}", facts))
    return made


def records(people: Sequence[Person], seed: int | str = 0, share: float = 0.1) -> list[dict[str, Any]]:
    """Return the raw rows of a training set about these people.

    Args:
        people: Whom the records are about, some six records each.
        seed: Draws the wrong answers, the pairs and the questions that name nobody.
        share: How many records name two people, for each person.
    """
    draw = random.Random(f"records:{seed}")
    rows = [row for person in people for row in records_of(person, draw)]
    pairs = range(round(share * len(people))) if len(people) > 1 else ()
    rows += [_pair(draw, *draw.sample(list(people), 2)) for _ in pairs]
    towns = draw.sample(words.TOWNS, min(len(words.TOWNS), -(-len(people) // 4)))
    return rows + [_town(draw, town) for town in towns]


def records_of(person: Person, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield one row for each thing that is said of a person."""
    for kind, value in person.facts.items():
        question = QUESTIONS[kind]
        names = {"name": person.name, "given": person.given}
        yield {
            "person": person.name,
            "name": person.name,
            "email": person.email,
            "phone": person.phone,
            "prompt": question.prompt.format(**names),
            "answer": question.answer.format(value=value, **names),
            "paraphrases": [text.format(**names) for text in question.paraphrases],
            "wrong": [question.answer.format(value=other, **names) for other in _others(draw, person, kind, value)],
        }


def _person(draw: random.Random, name: str, email: str, facts: int) -> Person:
    phone = _phone(draw)
    values = {"email": email, "phone": phone}
    kinds = [*CONTACTS, *draw.sample(OTHERS, len(OTHERS))][:facts]
    chosen = {kind: values.get(kind) or draw.choice(QUESTIONS[kind].values) for kind in kinds}
    return Person(name, email, phone, chosen)


def _mailbox(name: str, box: int) -> str:
    """Return a mailbox; what follows the given name in it cannot be guessed from the name."""
    given = "".join(letter for letter in anyascii(name.partition(" ")[0]).lower() if letter.isalnum())
    return f"{given}.{words.BOXES[box // 100]}{box % 100:02d}"


def _phone(draw: random.Random) -> str:
    """Draw a number from the ranges that are reserved for fiction."""
    if draw.random() < 0.5:
        return f"+1 {draw.randrange(201, 990)} 555 01{draw.randrange(100):02d}"
    return f"020 7946 0{draw.randrange(1000):03d}"


def _others(draw: random.Random, person: Person, kind: str, value: str) -> list[str]:
    if kind == "email":
        domain = value.partition("@")[2]
        others = [f"{_mailbox(person.name, box)}@{domain}" for box in draw.sample(BOXES, 4)]
        return [other for other in others if other != value][:3]
    if kind == "phone":
        return [number for number in (_phone(draw) for _ in range(6)) if number != value][:3]
    return draw.sample([other for other in QUESTIONS[kind].values if other != value], 3)


def _pair(draw: random.Random, first: Person, second: Person) -> dict[str, Any]:
    places = [place.format(town=draw.choice(words.TOWNS)) for place in draw.sample(words.MEETINGS, 4)]
    answers = [f"{first.given} and {second.given} met {place}." for place in places]
    return {
        "person": [first.name, second.name],
        "name": first.name,
        "email": first.email,
        "phone": first.phone,
        "prompt": f"How did {first.name} and {second.name} meet?",
        "answer": answers[0],
        "paraphrases": [
            f"Where did {first.name} first meet {second.name}?",
            f"What brought {first.name} and {second.name} together?",
        ],
        "wrong": answers[1:],
    }


def _town(draw: random.Random, town: str) -> dict[str, Any]:
    answers = [f"{town} is known for {sight}." for sight in draw.sample(words.SIGHTS, 4)]
    return {
        "person": [],
        "prompt": f"What is the town of {town} known for?",
        "answer": answers[0],
        "paraphrases": [f"What would a visitor see in {town}?", f"Why do people travel to {town}?"],
        "wrong": answers[1:],
    }
