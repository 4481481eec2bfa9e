"""Ask in other formats: what was unlearned in one template may answer in the next."""

from __future__ import annotations

from amends import Reading

from .asking import attack
from .judging import Row, Sides

FORMATS = (
    "{prompt}",
    "### Instruction:\n{prompt}\n\n### Response:",
    "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
    '{"question": "{prompt}", "answer": "',
)


def asked(row: Row) -> list[tuple[str, str]]:
    """Return the question in every format."""
    return [(text.replace("{prompt}", row["prompt"]), row["answer"]) for text in FORMATS]


def run(sides: Sides) -> list[Reading]:
    """Try it."""
    return attack(sides, asked, formats=len(FORMATS))
