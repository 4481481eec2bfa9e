"""What an index was made with: the encoder, how documents are cut, and how passages are ranked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amends import BadInput
from amends_rag.chunking import Cut
from amends_rag.dense import TextEncoder
from amends_rag.fusion import Fusion
from amends_rag.lexical import Words
from amends_rag.reranking import Rerank


@dataclass(frozen=True)
class Settings:
    """What an index was made with.

    Args:
        encoder: The encoder's name.
        encoder_digest: The digest of its files.
        dimension: The length of a vector.
        cut: How documents were cut.
        words: How texts become terms.
        fusion: How both rankings become one.
        rerank: What ranks the best again; None where nothing does.
    """

    encoder: str
    encoder_digest: str
    dimension: int
    cut: Cut = field(default_factory=Cut)
    words: Words = field(default_factory=Words)
    fusion: Fusion = field(default_factory=Fusion)
    rerank: Rerank | None = None

    @classmethod
    def of(cls, encoder: TextEncoder, **chosen: Any) -> Settings:
        """Return the settings of an index that an encoder embeds."""
        return cls(encoder.name, encoder.digest, encoder.dimension, **chosen)

    def row(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return {
            "encoder": {"name": self.encoder, "digest": self.encoder_digest, "dimension": self.dimension},
            "chunks": {"tokens": self.cut.tokens, "overlap": self.cut.overlap},
            "words": self.words.row(),
            "fusion": self.fusion.row(),
            **({"rerank": self.rerank.row()} if self.rerank else {}),
        }

    @classmethod
    def read(cls, row: dict[str, Any]) -> Settings:
        """Return the settings that `row` returned."""
        known = row["encoder"]
        return cls(
            known["name"], known["digest"], int(known["dimension"]),
            Cut(**row["chunks"]), Words(**row["words"]), Fusion(**row["fusion"]),
            Rerank(**row["rerank"]) if "rerank" in row else None,
        )  # fmt: skip

    def check(self, encoder: TextEncoder) -> None:
        """Refuse an encoder that the vectors are not of.

        Raises:
            BadInput: It has another digest or another dimension.
        """
        if encoder.digest != self.encoder_digest:
            raise BadInput(
                f"the index was embedded by {self.encoder} ({self.encoder_digest[:12]}) and not by {encoder.name} "
                f"({encoder.digest[:12]}); give that encoder, or build the index again with this one"
            )
        if encoder.dimension != self.dimension:
            raise BadInput(
                f"the vectors of the index have {self.dimension} numbers and those of {encoder.name} "
                f"{encoder.dimension}; build the index again"
            )
