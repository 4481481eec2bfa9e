"""Write `router.json`: which shard a question belongs to, by keyed hashes of names, else by likeness.

The file is a function of the base, the settings, the seed, the records and the salt, so that an erased version's
router equals the router of a version that never saw the person.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amends import BadInput, State
from amends.records import canonical_json, digest_of
from amends.serving.encoding import TEMPLATE

from .names import find_keys, key_of_question, keyed, keys_of
from .plan import Row, Shard
from .sentences import Vector, encode
from .watching import Heed, nobody, watched

FILE = "router.json"
DECIMALS = 6
QUANTILE = 0.1
CACHE = "router/"


def write(
    directory: Path, shards: Sequence[Shard], salt: str, state: State, is_cached: bool = True, heed: Heed = nobody
) -> None:
    """Write the router of these shards.

    Args:
        directory: Where the version keeps its shards.
        shards: The records as they were trained.
        salt: Hex key that this version's own salt is derived from.
        state: Keeps the questions' vectors, for the next time that a shard is as it is now.
        is_cached: False where nothing but the records may be used.
        heed: Asked before each question is read; raises where the task is to stop.
    """
    filled = [shard for shard in shards if shard.slices]
    vectors = {shard.index: _vectors(shard, state, is_cached, heed) for shard in filled}
    for name in state.names():
        if name.startswith(CACHE) and name not in {_cache_name(shard) for shard in filled}:
            state.drop(name)
    own = salt_of(salt, filled)
    router = {
        "template": TEMPLATE,
        "salt": own,
        **hashed_names(filled, own),
        "questions": hashed_questions(filled, own),
        "centroids": centroids(filled, vectors),
        "threshold": threshold(vectors),
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_bytes(canonical_json(router) + b"\n")


def check_salt(salt: str) -> None:
    """Refuse a key that cannot be one.

    Raises:
        BadInput: It is not hexadecimal, or empty.
    """
    if not re.fullmatch("([0-9a-f]{2})+", salt):
        raise BadInput("router_salt must be bytes in hexadecimal; leave it to the plan to draw one")


def salt_of(key: str, shards: Sequence[Shard]) -> str:
    """Return the salt of one version, in hex: other records, other hashes, so that two routers cannot be joined."""
    return keyed(key, digest_of([shard.chain for shard in shards]))


def hashed_names(shards: Sequence[Shard], salt: str) -> dict[str, dict[str, list[int]]]:
    """Return the shards of each name, by the name's hash.

    `names` has where somebody of that name has records of their own; two people of one name in two shards
    give it two. `mentions` has where a record names them beside somebody else.
    """
    found: dict[str, dict[str, set[int]]] = {"names": defaultdict(set), "mentions": defaultdict(set)}
    for shard in shards:
        for row in shard.rows:
            table = found["names" if len(row["subjects"]) == 1 else "mentions"]
            for key in {key for name in row.get("names", ()) for key in keys_of(salt, name)}:
                table[key].add(shard.index)
    return {kind: {key: sorted(where) for key, where in table.items()} for kind, table in found.items()}


def hashed_questions(shards: Sequence[Shard], salt: str) -> dict[str, list[int]]:
    """Return the shards of each question about people that names none of them, by the hash of the whole question.

    No name can tell where it belongs, and its likeness to a shard's mean question often tells wrongly.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for shard in shards:
        for row in shard.rows:
            own = {key for name in row.get("names", ()) for key in keys_of(salt, name)}
            if row["subjects"] and not find_keys(salt, str(row["prompt"]), own.__contains__):
                found[key_of_question(salt, str(row["prompt"]))].add(shard.index)
    return {key: sorted(where) for key, where in found.items()}


def centroids(shards: Sequence[Shard], vectors: dict[int, list[Vector]]) -> list[dict[str, Any]]:
    """Return each shard's mean question, and each question that names nobody: nobody's vector stands alone."""
    found = []
    for shard in shards:
        found.append({"shard": shard.index, "vector": rounded(mean(vectors[shard.index]))})
        for row, vector in zip(shard.rows, vectors[shard.index], strict=True):
            if not row["subjects"]:
                found.append({"shard": shard.index, "vector": rounded(vector)})
    return found


def threshold(vectors: dict[int, list[Vector]]) -> float:
    """Return the likeness to its shard's mean that nine in ten of the trained questions reach."""
    likenesses = sorted(float(vector @ mean(some)) for some in vectors.values() for vector in some)
    return round(likenesses[int(QUANTILE * len(likenesses))], DECIMALS) if likenesses else 1.0


def mean(vectors: Sequence[Vector]) -> Vector:
    """Return the mean of vectors, added one after the other in their order, at length one."""
    total = np.zeros_like(vectors[0])
    for vector in vectors:
        total = total + vector
    return total / np.float32(max(float(np.sqrt((total * total).sum())), 1e-12))


def rounded(vector: Vector) -> list[float]:
    """Return a vector as decimals that read back the same everywhere."""
    return [round(float(value), DECIMALS) for value in vector]


def _vectors(shard: Shard, state: State, is_cached: bool, heed: Heed) -> list[Vector]:
    rows = shard.rows
    header = canonical_json({"questions": digest_of([[row["id"], row["prompt"]] for row in rows])})
    name = _cache_name(shard)
    if is_cached and name in state.names():
        found, _, body = state.get(name).partition(b"\n")
        if found == header:
            return list(np.frombuffer(body, dtype="<f4").reshape(len(rows), -1))
    vectors = [_question(row) for row in watched(rows, heed)]
    state.put(name, header + b"\n" + np.stack(vectors).astype("<f4").tobytes())
    return vectors


def _question(row: Row) -> Vector:
    return encode(str(row["prompt"]))


def _cache_name(shard: Shard) -> str:
    return f"{CACHE}{shard.index:02d}"
