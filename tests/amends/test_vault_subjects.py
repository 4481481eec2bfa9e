import pytest

from amends.errors import BadInput
from amends.vault.keys import Keyring
from amends.vault.receipts import check_receipt, new_receipt
from amends.vault.subjects import index_entries, pseudonym, suppression_entries, text_macs

ADA = {"name": ("Ada Lovelace",), "email": ("ada@example.org",), "phone": ("+44 20 7946 0958",)}


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keys")


def macs(entries):
    return {mac for _, mac in entries}


def test_a_pseudonym_is_keyed_and_the_same_however_the_name_is_written(keyring, tmp_path):
    name = pseudonym(keyring, ADA)
    assert name.startswith("s_") and len(name) == 26
    for identifiers in ({"person": ("Lovelace, Ada",)}, {"name": ("LOVELACE ADA",)}, dict(reversed(ADA.items()))):
        assert pseudonym(keyring, identifiers) == name
    assert pseudonym(Keyring.create(tmp_path / "other"), ADA) != name
    assert pseudonym(keyring, {"name": ("Ada King",)}) != name


def test_the_person_field_decides_before_a_name(keyring):
    assert pseudonym(keyring, {"name": ("X",), "person": ("customer 12",)}) == pseudonym(
        keyring, {"person": ("Customer 12",)}
    )


def test_an_empty_identifier_is_passed_over_and_none_at_all_is_refused(keyring):
    assert pseudonym(keyring, {"name": ("",), "email": ("ada@example.org",)}) == pseudonym(
        keyring, {"email": ("ADA@example.org",)}
    )
    with pytest.raises(BadInput, match="needs an identifier"):
        pseudonym(keyring, {"name": ("??",)})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Where does Lovelace, Ada live?", "name"),
        ("ADA LOVELACE's house", "name"),
        ("mail Ada@Example.org", "email"),
        ("call 020 7946 0958 now", "phone"),
    ],
)
def test_a_text_that_names_a_person_meets_their_index_entries(keyring, text, kind):
    found = text_macs(keyring, "index", text)
    assert {entry_kind for entry_kind, mac in index_entries(keyring, ADA) if mac in found} == {kind}


def test_a_text_that_names_nobody_meets_no_entry(keyring):
    assert not text_macs(keyring, "index", "Ada wrote to Bob Lovelace.") & macs(index_entries(keyring, ADA))
    assert text_macs(keyring, "index", "?!") == set()


def test_a_name_longer_than_a_window_is_found_by_its_beginning(keyring):
    entries = index_entries(keyring, {"name": ("Maria del Carmen Lopez Garcia",)})
    assert text_macs(keyring, "index", "Here lives Maria del Carmen Lopez Garcia.") & macs(entries)


def test_suppression_has_a_key_of_its_own(keyring):
    entries = suppression_entries(keyring, ADA)
    assert not macs(entries) & macs(index_entries(keyring, ADA))
    assert text_macs(keyring, "suppression", "lovelace ada") & macs(entries)


def test_entries_hold_no_personal_data_and_come_in_one_order(keyring):
    entries = index_entries(keyring, ADA)
    assert entries == index_entries(keyring, dict(reversed(ADA.items()))) == sorted(entries)
    assert {kind for kind, _ in entries} == set(ADA)
    assert "ovelace" not in repr(entries)


def test_the_holder_alone_can_tie_a_receipt_to_a_case():
    nonce, commitment = new_receipt("case-1", ADA)
    assert check_receipt(nonce, "case-1", ADA, commitment)
    assert check_receipt(f" {nonce}\n", "case-1", {"name": ("Lovelace, Ada",)}, commitment.upper())
    assert not check_receipt(nonce, "case-2", ADA, commitment)
    assert not check_receipt(nonce, "case-1", {"name": ("Ada King",)}, commitment)
    assert not check_receipt(new_receipt("case-1", ADA)[0], "case-1", ADA, commitment)


def test_a_commitment_tells_nothing_without_its_nonce():
    assert new_receipt("case-1", ADA)[1] != new_receipt("case-1", ADA)[1]


@pytest.mark.parametrize("nonce", ["", "xyz", "00" * 16])
def test_a_mistyped_receipt_is_refused(nonce):
    with pytest.raises(BadInput, match="64 hex digits"):
        check_receipt(nonce, "case-1", ADA, "00")
