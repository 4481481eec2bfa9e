import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.errors import BadInput, Tampered
from amends.records import DataSubject, Disclosure
from amends.vault.ciphers import new_key, seal, unseal
from amends.vault.disclosures import open_disclosure, seal_disclosure

KEY = bytes(range(32))
ADA = Disclosure(DataSubject("s_1"), {"name": ("Ada Lovelace", "Ada King"), "email": ("ada@example.org",)})


@given(st.binary(max_size=200), st.text(max_size=20).filter(lambda text: text.isprintable()))
def test_what_is_sealed_opens_again(data, context):
    assert unseal(KEY, seal(KEY, data, context), context) == data


def test_the_same_data_never_seals_to_the_same_bytes():
    assert seal(KEY, b"data", "here") != seal(KEY, b"data", "here")


@pytest.mark.parametrize("place", [0, 5, 12, 15, -1])
def test_a_changed_byte_is_noticed(place):
    blob = bytearray(seal(KEY, b"data", "here"))
    blob[place] ^= 1
    with pytest.raises(Tampered):
        unseal(KEY, bytes(blob), "here")


def test_another_key_another_context_or_a_stump_is_refused():
    blob = seal(KEY, b"data", "here")
    for key, data, context in ((new_key(), blob, "here"), (KEY, blob, "there"), (KEY, blob[:8], "here")):
        with pytest.raises(Tampered):
            unseal(key, data, context)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(BadInput, match="32 bytes, not 16"):
        seal(bytes(16), b"data", "here")


def test_a_disclosure_opens_under_its_cases_key_only():
    blob = seal_disclosure(KEY, ADA)
    assert open_disclosure(KEY, blob) == ADA
    with pytest.raises(Tampered):
        open_disclosure(new_key(), blob)


def test_a_sealed_disclosure_shows_nothing_of_the_person():
    blob = seal_disclosure(KEY, ADA)
    assert not any(value.encode() in blob for value in (*ADA.values(), ADA.subject.pseudonym))
