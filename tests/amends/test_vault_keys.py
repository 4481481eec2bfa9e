import os
import pickle
import stat
import threading

import pytest

from amends.errors import BadInput, Tampered
from amends.vault.keys import Keyring

CASES = [f"case-{number}" for number in range(3)]


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keys")


def dies_at(step, action):
    """Run `action` in a child that dies before its `step`-th write to the disk; whether it died."""
    child = os.fork()
    if child == 0:
        left = [step]

        def dying(function):
            def call(*arguments, **keywords):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return function(*arguments, **keywords)

            return call

        for name in ("fsync", "replace", "unlink", "pwrite"):
            setattr(os, name, dying(getattr(os, name)))
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def every_crash(action):
    """Yield after a crash at each write of `action` in turn, until it runs through."""
    step = 0
    while dies_at(step, action):
        yield
        step += 1
    assert step > 3
    yield


def contents(directory):
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_every_file_is_the_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        keyring = Keyring.create(tmp_path / "keys")
        keyring.new_case_key("case-1")
    finally:
        os.umask(before)
    for path in (keyring.directory, *keyring.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_keyring_is_never_made_over_another(keyring):
    with pytest.raises(BadInput, match="not empty"):
        Keyring.create(keyring.directory)


@pytest.mark.parametrize("name", ["pseudonym", "vault", "cases/case-1.key", "lineages/team.key", "signing/current"])
def test_a_file_that_others_can_read_is_named_with_the_command_that_mends_it(keyring, name):
    keyring.new_case_key("case-1")
    keyring.lineage_key("team")
    path = keyring.directory / name
    path.chmod(0o640)
    with pytest.raises(BadInput, match=f"{path} has mode 0640.*run: chmod 600 {path}"):
        Keyring.open(keyring.directory)
    path.chmod(0o600)
    assert Keyring.open(keyring.directory).case_key("case-1")


@pytest.mark.parametrize("name", [".", "signing", "cases"])
def test_a_directory_that_others_can_enter_is_refused(keyring, name):
    path = keyring.directory / name
    path.chmod(0o755)
    with pytest.raises(BadInput, match="run: chmod 700"):
        Keyring.open(keyring.directory)


def test_the_private_signing_key_is_checked_too(keyring):
    (private,) = (keyring.directory / "signing").glob("*.pem")
    private.chmod(0o644)
    with pytest.raises(BadInput, match=private.name):
        Keyring.open(keyring.directory)
    private.unlink()
    with pytest.raises(BadInput, match=f"{private.name} is missing"):
        Keyring.open(keyring.directory)


def test_a_missing_key_a_missing_keyring_and_a_link_are_refused(keyring, tmp_path):
    (keyring.directory / "suppression").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="suppression is missing"):
        Keyring.open(keyring.directory)
    (keyring.directory / "suppression").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="suppression is a link"):
        Keyring.open(keyring.directory)
    with pytest.raises(BadInput, match="nowhere is missing"):
        Keyring.open(tmp_path / "nowhere")


def test_a_truncated_key_is_noticed(keyring):
    (keyring.directory / "index").write_bytes(b"short")
    with pytest.raises(Tampered, match="index has 5 bytes"):
        Keyring.open(keyring.directory)


def test_hashes_are_stable_and_differ_by_purpose_part_and_keyring(keyring, tmp_path):
    other = Keyring.create(tmp_path / "other")
    again = Keyring.open(keyring.directory)
    assert keyring.mac("index", "ab", "c") == again.mac("index", "ab", "c")
    found = {
        keyring.mac("index", "ab", "c"),
        keyring.mac("index", "a", "bc"),
        keyring.mac("index", "abc"),
        keyring.mac("index", "ab", "c", ""),
        keyring.mac("index/record", "ab", "c"),
        keyring.mac("suppression", "ab", "c"),
        other.mac("index", "ab", "c"),
    }
    assert len(found) == 7
    assert all(len(mac) == 64 for mac in found)


def test_a_purpose_without_a_key_is_refused(keyring):
    with pytest.raises(BadInput, match="suppresion"):
        keyring.mac("suppresion", "a")


def test_rotation_keeps_the_old_public_key_and_destroys_the_old_private_one(keyring):
    before = keyring.signing_key()
    old, new = keyring.rotate_signing()
    assert set(keyring.public_keys()) == {old, new}
    assert [path.stem for path in (keyring.directory / "signing").glob("*.pem")] == [new]
    assert keyring.signing_key().private_bytes_raw() != before.private_bytes_raw()


def test_a_crash_anywhere_in_a_signing_rotation_leaves_one_key_that_signs(keyring):
    for _ in every_crash(keyring.rotate_signing):
        again = Keyring.open(keyring.directory)
        (private,) = (keyring.directory / "signing").glob("*.pem")
        assert private.stem in again.public_keys()
        assert again.signing_key()


def test_a_case_key_is_made_once_and_comes_back(keyring):
    key = keyring.new_case_key("case-1")
    assert len(key) == 32
    assert keyring.new_case_key("case-1") == key == Keyring.open(keyring.directory).case_key("case-1")
    assert keyring.new_case_key("case-2") != key
    assert key not in contents(keyring.directory)


def test_a_destroyed_case_key_never_comes_back(keyring):
    keyring.new_case_key("case-1")
    keyring.destroy_case_key("case-1")
    keyring.destroy_case_key("case-1")
    for use in (keyring.case_key, keyring.new_case_key):
        with pytest.raises(BadInput, match="key of case case-1 was destroyed"):
            use("case-1")
    assert not list((keyring.directory / "cases").glob("*.key"))


def test_a_case_without_a_key_is_named(keyring):
    with pytest.raises(BadInput, match="case case-9 has no key"):
        keyring.case_key("case-9")


def test_destroying_overwrites_the_bytes_before_the_name_goes(keyring):
    keyring.new_case_key("case-1")
    file = keyring.directory / "cases" / "case-1.key"
    before = file.read_bytes()
    with file.open("rb") as still_open:
        keyring.destroy_case_key("case-1")
        assert still_open.read() != before


def test_a_crash_anywhere_while_destroying_ends_with_no_key(keyring):
    keyring.new_case_key("case-1")
    for _ in every_crash(lambda: keyring.destroy_case_key("case-1")):
        keyring.destroy_case_key("case-1")
        assert [path.name for path in (keyring.directory / "cases").iterdir()] == ["case-1.destroyed"]
        (keyring.directory / "cases" / "case-1.destroyed").unlink()
        keyring.new_case_key("case-1")


def test_a_key_marked_as_destroyed_is_destroyed_at_the_next_opening(keyring):
    keyring.new_case_key("case-1")
    assert dies_at(4, lambda: keyring.destroy_case_key("case-1"))
    Keyring.open(keyring.directory)
    assert not list((keyring.directory / "cases").glob("*.key"))


def test_lineage_keys_are_made_on_demand_and_destroyed_likewise(keyring):
    key = keyring.lineage_key("team/assistant ü")
    assert keyring.lineage_key("team/assistant ü") == key
    keyring.destroy_lineage_key("team/assistant ü")
    with pytest.raises(BadInput, match="was destroyed"):
        keyring.lineage_key("team/assistant ü")


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_name_that_cannot_be_a_file_is_refused(keyring, name):
    with pytest.raises(BadInput, match="cannot name a key"):
        keyring.new_case_key(name)


def test_a_name_cannot_leave_the_keyring(keyring, tmp_path):
    for name in ("..", ".", "../../x", "/etc/x"):
        keyring.new_case_key(name)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    assert len(list((keyring.directory / "cases").iterdir())) == 4


def test_a_wrapped_key_cannot_stand_in_for_another(keyring):
    keyring.new_case_key("case-1")
    keyring.new_case_key("case-2")
    cases = keyring.directory / "cases"
    (cases / "case-1.key").write_bytes((cases / "case-2.key").read_bytes())
    with pytest.raises(Tampered):
        keyring.case_key("case-1")


def test_rotating_the_vault_keeps_every_key_and_no_trace_of_the_old_one(keyring):
    keys = {case: keyring.new_case_key(case) for case in CASES}
    lineage = keyring.lineage_key("assistant")
    vault, wrapped = keyring.directory / "vault", keyring.directory / "cases" / "case-0.key"
    before = vault.read_bytes(), wrapped.read_bytes()
    with vault.open("rb") as still_open:
        keyring.rotate_vault()
        assert still_open.read() != before[0]
    assert {case: keyring.case_key(case) for case in CASES} == keys
    assert keyring.lineage_key("assistant") == lineage
    assert vault.read_bytes() != before[0] and wrapped.read_bytes() != before[1]


def test_a_crash_anywhere_in_a_vault_rotation_loses_no_key(keyring):
    keys = {case: keyring.new_case_key(case) for case in CASES}
    for _ in every_crash(keyring.rotate_vault):
        assert {case: keyring.case_key(case) for case in CASES} == keys
        again = Keyring.open(keyring.directory)
        assert {case: again.case_key(case) for case in CASES} == keys
        names = {path.name for path in keyring.directory.rglob("*")}
        assert not {name for name in names if name.startswith(".") or name == "vault.next"}


def test_a_vault_with_a_tampered_key_is_not_rotated(keyring):
    keyring.new_case_key("case-1")
    (keyring.directory / "cases" / "case-1.key").write_bytes(bytes(60))
    before = (keyring.directory / "vault").read_bytes()
    with pytest.raises(Tampered, match="case-1"):
        keyring.rotate_vault()
    assert (keyring.directory / "vault").read_bytes() == before
    assert not (keyring.directory / "vault.next").exists()


def test_many_threads_get_one_key_while_the_vault_rotates(keyring):
    found = []
    threads = [threading.Thread(target=lambda: found.append(keyring.new_case_key("case-1"))) for _ in range(8)]
    threads.append(threading.Thread(target=keyring.rotate_vault))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert keyring.case_key("case-1") == found[0]


def test_a_keyring_shows_no_key_and_never_leaves_its_process(keyring):
    assert repr(keyring) == f"Keyring('{keyring.directory}')"
    with pytest.raises(TypeError, match="never leaves its process"):
        pickle.dumps(keyring)
