"""Keep the adapter after each slice, so that an erasure starts from the last one that is clean.

They go into the lineage's state, and into the scratch directory, from where an attempt that was killed is gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from amends import State
from amends.records import canonical_json

from . import lora
from .lora import Adapter
from .plan import Shard, Slice
from .points import replace_file

PREFIX = "shards/"


def name_of(shard: Shard, part: Slice) -> str:
    """Return the name of the blob that holds the adapter after a slice."""
    return f"{PREFIX}{shard.index:02d}/slice-{part.index:02d}"


def keep(state: State, scratch: Path, shard: Shard, part: Slice, adapter: Adapter) -> None:
    """Keep the adapter after a slice: a line of JSON that names its training, then its safetensors bytes."""
    data = canonical_json({"chain": part.chain}) + b"\n" + adapter.to_bytes()
    state.put(name_of(shard, part), data)
    file = scratch / name_of(shard, part)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, data)


def take_over(state: State, scratch: Path, shards: Iterable[Shard]) -> None:
    """Put into the state what a killed attempt at these shards had finished; the state that it had is gone."""
    for shard in shards:
        for part in shard.slices:
            file = scratch / name_of(shard, part)
            if file.exists() and _names(file.read_bytes(), part):
                state.put(name_of(shard, part), file.read_bytes())


def find(state: State, shard: Shard, part: Slice) -> Adapter | None:
    """Return the adapter after a slice, if it was trained on just these records in just this way."""
    name = name_of(shard, part)
    if name not in state.names():
        return None
    data = state.get(name)
    return lora.from_bytes(data.partition(b"\n")[2]) if _names(data, part) else None


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
        if name.startswith(PREFIX) and (name not in wanted or _chain(state.get(name)) != wanted[name]):
            state.drop(name)


def _names(data: bytes, part: Slice) -> bool:
    return _chain(data) == part.chain


def _chain(data: bytes) -> str:
    return str(json.loads(data.partition(b"\n")[0])["chain"])
