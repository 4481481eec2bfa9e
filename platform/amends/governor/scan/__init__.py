"""Scan: a pure search of bytes for what is left of a person; it knows no workspace."""
