"""People: a token is shown once, only its hash is kept, and a removed person's is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from amends.errors import BadInput, Denied
from amends.ledger import people
from amends.ledger.tables import people as table


def test_a_token_names_its_person(database):
    with database.transaction() as connection:
        token = people.add(connection, "Dora", "dpo")
        person = people.authenticate(connection, f" {token}\n")
        assert (person.name, person.role) == ("Dora", people.Role.DPO)
        assert people.get(connection, person.id) == people.get(connection, "Dora") == person


def test_only_a_hash_of_the_token_that_takes_work_is_kept(database, strong_hasher, monkeypatch):
    monkeypatch.setattr(people, "_HASHER", strong_hasher)
    with database.transaction() as connection:
        secret = people.add(connection, "Dora", "dpo").partition(".")[2]
        kept = connection.execute(select(table.c.token_hash)).scalar_one()
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and secret not in kept


@pytest.mark.parametrize("change", [lambda token: token[:-1], lambda token: "p-000000000000.x", lambda token: ""])
def test_a_wrong_token_is_refused_in_one_sentence(database, change):
    with database.transaction() as connection:
        token = people.add(connection, "Dora", "dpo")
        with pytest.raises(Denied, match="this token is not known here"):
            people.authenticate(connection, change(token))


def test_somebody_elses_secret_is_refused(database):
    with database.transaction() as connection:
        dora, otto = (people.add(connection, name, "dpo") for name in ("Dora", "Otto"))
        with pytest.raises(Denied):
            people.authenticate(connection, f"{dora.partition('.')[0]}.{otto.partition('.')[2]}")


def test_the_token_of_a_removed_person_is_refused_and_their_name_is_free(database):
    with database.transaction() as connection:
        token = people.add(connection, "Dora", "dpo")
        gone = people.remove(connection, "Dora")
        with pytest.raises(Denied, match="a person who was removed"):
            people.authenticate(connection, token)
        again = people.authenticate(connection, people.add(connection, "Dora", "auditor"))
        assert again.id != gone.id
        assert [person.id for person in people.everyone(connection)] == [again.id]
        assert {person.id for person in people.everyone(connection, removed=True)} == {gone.id, again.id}


def test_names_are_unique_and_roles_are_known(database):
    with database.transaction() as connection:
        people.add(connection, "Dora", "dpo")
        for name, role, sentence in (
            ("Dora", "admin", "is here already"),
            ("Otto", "king", "there are requester, operator"),
            (" ", "admin", "needs a name"),
            ("Nobody", "", "there is no role"),
        ):
            with pytest.raises(BadInput, match=sentence):
                people.add(connection, name, role)
        with pytest.raises(BadInput, match="no person 'Otto'"):
            people.remove(connection, "Otto")
