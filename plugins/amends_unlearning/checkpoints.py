"""Keep the adapter after each slice, so that an erasure starts from the last one that is clean."""

from __future__ import annotations

import json
from collections.abc import Iterable

from amends import State
from amends.records import canonical_json

from . import lora
from .lora import Adapter
from .plan import Shard, Slice

PREFIX = "shards/"


def name_of(shard: Shard, part: Slice) -> str:
    """Return the name of the blob that holds the adapter after a slice."""
    return f"{PREFIX}{shard.index:02d}/slice-{part.index:02d}"


def keep(state: State, shard: Shard, part: Slice, adapter: Adapter) -> None:
    """Keep the adapter after a slice: a line of JSON that names its training, then its safetensors bytes."""
    header = canonical_json({"chain": part.chain})
    state.put(name_of(shard, part), header + b"\n" + adapter.to_bytes())


def find(state: State, shard: Shard, part: Slice) -> Adapter | None:
    """Return the adapter after a slice, if it was trained on just these records in just this way."""
    name = name_of(shard, part)
    if name not in state.names():
        return None
    header, _, body = state.get(name).partition(b"\n")
    return lora.from_bytes(body) if json.loads(header)["chain"] == part.chain else None


def last_clean(state: State, shard: Shard) -> tuple[int, Adapter | None]:
    """Return how many slices of a shard need no training, and the adapter after them."""
    for done in range(len(shard.slices), 0, -1):
        adapter = find(state, shard, shard.slices[done - 1])
        if adapter is not None:
            return done, adapter
    return 0, None


def drop_others(state: State, shards: Iterable[Shard]) -> None:
    """Forget every checkpoint that belongs to no chain of these shards."""
    wanted = {name_of(shard, part): part.chain for shard in shards for part in shard.slices}
    for name in state.names():
        if name.startswith(PREFIX) and (name not in wanted or _chain_of(state, name) != wanted[name]):
            state.drop(name)


def _chain_of(state: State, name: str) -> str:
    return str(json.loads(state.get(name).partition(b"\n")[0])["chain"])
