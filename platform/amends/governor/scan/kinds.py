"""What kind a file is, from its first bytes where they tell and else from its name."""

from __future__ import annotations

from pathlib import PurePath

HEAD = 512  # bytes that decide a file's kind
SQLITE_SIDES = ("-wal", "-shm", "-journal")
BLIND = frozenset({"png", "jpeg", "gif", "pdf", "7z", "rar", "lance"})
"""Kinds that are searched as bytes only, although their bytes are compressed."""

_MAGIC = (
    (b"SQLite format 3\0", "sqlite"),
    (b"\x37\x7f\x06\x82", "sqlite"),
    (b"\x37\x7f\x06\x83", "sqlite"),
    (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "sqlite"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "arrow"),
    (b"GGUF", "gguf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"%PDF-", "pdf"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
)
_SUFFIXES = {
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".db-wal", ".db-shm", ".db-journal"), "sqlite"),
    **{".log": "log", ".out": "log", ".err": "log", ".jsonl": "jsonl", ".json": "json", ".html": "html"},
    **{".svg": "svg", ".yaml": "yaml", ".yml": "yaml", ".lance": "lance", ".safetensors": "safetensors"},
    **{".feather": "arrow", ".arrow": "arrow"},
}


def kind_of(name: str, head: bytes) -> str:
    """Return a file's kind, from its first bytes where they tell and else from its name."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    if name.endswith(SQLITE_SIDES):
        return "sqlite"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    return _SUFFIXES.get(PurePath(name).suffix.lower()) or _kind_of_text(head)


def _kind_of_text(head: bytes) -> str:
    try:
        text = head[: len(head) - 3 if len(head) == HEAD else None].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 7:
            return "binary"
        text = head[: error.start].decode()
    if "\0" in text:
        return "binary"
    if not text.startswith(("{", "[")):
        return "text"
    return "jsonl" if text.partition("\n")[0].endswith("}") and "\n" in text else "json"
