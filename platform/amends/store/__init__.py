"""Bytes by digest: where they are stored, directories of them, and what one machine keeps."""

from amends.store.blobs import Blobs, LocalBlobs, MlflowBlobs, open_blobs
from amends.store.cache import NodeCache
from amends.store.computed import Computed
from amends.store.trees import Manifest, fetch_manifest, materialise, put_tree, read_manifest

__all__ = [
    "Blobs",
    "Computed",
    "LocalBlobs",
    "Manifest",
    "MlflowBlobs",
    "NodeCache",
    "fetch_manifest",
    "materialise",
    "open_blobs",
    "put_tree",
    "read_manifest",
]
