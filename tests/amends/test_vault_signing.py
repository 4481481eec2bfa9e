import base64
import copy
import json

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from amends.errors import BadInput, Tampered
from amends.vault.keys import Keyring
from amends.vault.public import load_public, read_public_keys
from amends.vault.signing import pae, sign, verify

TYPE = "application/vnd.in-toto+json"


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keys")


@pytest.fixture
def envelope(keyring):
    return sign(keyring, TYPE, b'{"a":1}')


def test_the_encoding_is_the_specifications():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_count_bytes_and_not_characters():
    assert pae("é", "é".encode()) == "DSSEv1 2 é 2 é".encode()


def test_an_envelope_survives_json_and_gives_its_payload_back(keyring, envelope):
    again = json.loads(json.dumps(envelope))
    assert verify(again, keyring.public_keys(), TYPE) == b'{"a":1}'


def test_securesystemslib_accepts_our_envelope(keyring, envelope):
    (keyid,) = keyring.public_keys()
    public = load_public(keyring.public_keys()[keyid], "key")
    key = SSlibKey.from_crypto(public, keyid)
    accepted = Envelope.from_dict(copy.deepcopy(envelope)).verify([key], 1)
    assert list(accepted) == [keyid]


@pytest.mark.parametrize(
    "change",
    [
        {"payload": base64.b64encode(b'{"a":2}').decode()},
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": [{"keyid": "x", "sig": "AAAA"}]},
        {"signatures": "nonsense"},
        {"payload": "not base64!"},
        {"payload": None},
    ],
)
def test_a_changed_envelope_is_refused(keyring, envelope, change):
    with pytest.raises(Tampered):
        verify({**envelope, **change}, keyring.public_keys())


def test_an_envelope_of_another_type_is_refused(keyring, envelope):
    with pytest.raises(Tampered, match="not 'other'"):
        verify(envelope, keyring.public_keys(), "other")


def test_another_keyrings_public_keys_do_not_verify(envelope, tmp_path):
    with pytest.raises(Tampered, match="not signed by any of these keys"):
        verify(envelope, Keyring.create(tmp_path / "other").public_keys())


def test_the_keyid_is_only_a_hint(keyring, envelope):
    envelope["signatures"][0]["keyid"] = "unknown"
    assert verify(envelope, keyring.public_keys()) == b'{"a":1}'


def test_url_safe_base64_is_accepted_as_the_protocol_says(keyring, envelope):
    envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    assert verify(envelope, keyring.public_keys()) == b'{"a":1}'


def test_what_a_rotated_key_signed_verifies_with_an_exported_directory_alone(keyring, envelope, tmp_path):
    old, new = keyring.rotate_signing()
    later = sign(keyring, TYPE, b"later")
    keys = read_public_keys(keyring.public_directory(tmp_path / "export"))
    assert set(keys) == {old, new}
    assert verify(envelope, keys) == b'{"a":1}'
    assert verify(later, {new: keys[new]}) == b"later"
    with pytest.raises(Tampered):
        verify(later, {old: keys[old]})


def test_a_file_that_is_no_public_key_is_named(tmp_path):
    (tmp_path / "a.pem").write_text("nothing")
    for path in (tmp_path, tmp_path / "a.pem", tmp_path / "missing.pem"):
        with pytest.raises(BadInput, match=r"\.pem"):
            read_public_keys(path)
