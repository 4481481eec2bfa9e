"""The published vectors of Certificate Transparency's reference tree, and properties."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends.errors import BadInput
from amends.vault.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
G = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUSION = [
    (0, 1, []),
    (0, 8, [A, B, C]),
    (5, 8, [D, E, ROOTS[3]]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [ROOTS[0], B, D]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [A, B, C]),
    (6, 8, [F, E, ROOTS[3]]),
    (2, 5, [B, D]),
    (6, 7, [F, G, ROOTS[3]]),
]


def test_the_empty_tree_and_the_empty_leaf_have_the_published_hashes():
    assert root([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert leaf_hash(b"").hex() == ROOTS[0]


@pytest.mark.parametrize("size", range(1, 9))
def test_every_prefix_of_the_reference_tree_has_the_published_root(size):
    assert root(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones_and_verify(index, size, expected):
    proof = inclusion_proof(index, LEAVES[:size])
    assert [each.hex() for each in proof] == expected
    assert verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second", "expected"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones_and_verify(first, second, expected):
    proof = consistency_proof(first, LEAVES[:second])
    assert [each.hex() for each in proof] == expected
    older, newer = bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1])
    assert verify_consistency(first, second, older, newer, proof)


trees = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


@settings(deadline=None)
@given(trees, st.data())
def test_a_leaf_is_included_at_its_own_place_only(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, top = inclusion_proof(index, leaves), root(leaves)
    assert verify_inclusion(leaves[index], index, len(leaves), proof, top)
    assert not verify_inclusion(leaves[index] + b"x", index, len(leaves), proof, top)
    assert not verify_inclusion(leaves[index], index, len(leaves), [*proof, top], top)
    assert not verify_inclusion(leaves[index], len(leaves), len(leaves), proof, top)
    for place in range(len(proof)):
        changed = [*proof[:place], bytes(32), *proof[place + 1 :]]
        assert not verify_inclusion(leaves[index], index, len(leaves), changed, top)


@settings(deadline=None)
@given(trees, st.data())
def test_only_a_tree_that_was_appended_to_is_consistent(leaves, data):
    first = data.draw(st.integers(1, len(leaves)))
    proof, older, newer = consistency_proof(first, leaves), root(leaves[:first]), root(leaves)
    assert verify_consistency(first, len(leaves), older, newer, proof)
    assert not verify_consistency(first, len(leaves), older, bytes(32), proof)
    assert not verify_consistency(first, len(leaves), bytes(32), newer, proof)
    rewritten = [leaves[0] + b"x", *leaves[1:]]
    assert not verify_consistency(first, len(leaves), older, root(rewritten), consistency_proof(first, rewritten))
    if proof:
        assert not verify_consistency(first, len(leaves), older, newer, proof[:-1])
        assert not verify_consistency(first, len(leaves), older, newer, [*proof, newer])


def test_a_proof_of_something_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no leaf 8"):
        inclusion_proof(8, LEAVES)
    with pytest.raises(BadInput, match="cannot extend"):
        consistency_proof(9, LEAVES)
    assert not verify_consistency(0, 8, EMPTY_ROOT, root(LEAVES), [])


def test_a_frontier_resumes_from_its_peaks_and_keeps_only_a_logarithm():
    whole = Frontier()
    whole.extend(str(number).encode() for number in range(10_000))
    resumed = Frontier(whole.size, list(whole.peaks))
    resumed.append(b"one more")
    assert len(whole.peaks) == (10_000).bit_count()
    assert resumed.root() == root([*(str(number).encode() for number in range(10_000)), b"one more"])
