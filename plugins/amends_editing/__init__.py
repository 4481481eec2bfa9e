"""Change what a model knows: insert, modify or erase a fact, and measure what became of it."""

from __future__ import annotations
