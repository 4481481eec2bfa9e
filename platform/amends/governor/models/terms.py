"""Licences of models and data: their families, what each family asks for, and which texts fit each other.

What is not in `KNOWN` is of no known family, and never read as permission. Expressions such as `MIT OR Apache-2.0`
are not taken apart: whoever declares a licence chooses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """What a licence asks for, by its sort."""

    PERMISSIVE = "permissive"
    WEAK = "weak copyleft"
    STRONG = "strong copyleft"
    SHARE_ALIKE = "share-alike"
    NON_COMMERCIAL = "non-commercial"
    NON_COMMERCIAL_SHARE_ALIKE = "non-commercial, share-alike"
    NO_DERIVATIVES = "no derivatives"
    RESTRICTED = "use restrictions"
    UNKNOWN = "unknown"


UNKNOWN = "unknown"
"""The id of a licence that nobody named."""

KEEPING = {Family.STRONG, Family.SHARE_ALIKE, Family.NON_COMMERCIAL_SHARE_ALIKE, Family.RESTRICTED}
"""Families whose terms must stand on whatever is made from such a thing; weak copyleft asks that of models alone."""

UNPAID = {Family.NON_COMMERCIAL, Family.NON_COMMERCIAL_SHARE_ALIKE}

_BY_FAMILY: Mapping[Family, str] = {
    Family.PERMISSIVE: "Apache-2.0 MIT BSD-2-Clause BSD-3-Clause ISC Zlib BSL-1.0 AFL-3.0 Unlicense CC0-1.0 CC-BY-3.0 "
    "CC-BY-4.0 PDDL-1.0 ODC-By-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0",
    Family.WEAK: "MPL-2.0 EPL-2.0 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later",
    Family.STRONG: "GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later AGPL-3.0-only AGPL-3.0-or-later "
    "EUPL-1.2",
    Family.SHARE_ALIKE: "CC-BY-SA-3.0 CC-BY-SA-4.0 ODbL-1.0 CDLA-Sharing-1.0",
    Family.NON_COMMERCIAL: "CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0",
    Family.NON_COMMERCIAL_SHARE_ALIKE: "CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0",
    Family.NO_DERIVATIVES: "CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0",
}
_NOT_SPDX = (  # licences of models, by the ids that the Hugging Face hub gives them
    "llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma openrail openrail++ creativeml-openrail-m "
    "bigscience-openrail-m bigcode-openrail-m bigscience-bloom-rail-1.0"
)
_ALIASES = {
    **{"gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only", "agpl-3.0": "AGPL-3.0-only"},
    **{"lgpl-2.1": "LGPL-2.1-only", "lgpl-3.0": "LGPL-3.0-only", "odbl": "ODbL-1.0", "pddl": "PDDL-1.0"},
    **{"odc-by": "ODC-By-1.0", "llama-3.1": "llama3.1", "llama-3.2": "llama3.2", "llama-3.3": "llama3.3"},
}
_GPL_3 = ("GPL-3.0-only", "GPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later")
COMPATIBLE: Mapping[str, tuple[str, ...]] = {
    "CC-BY-SA-3.0": ("CC-BY-SA-4.0",),
    "CC-BY-SA-4.0": ("GPL-3.0-only", "GPL-3.0-or-later"),
    "CC-BY-NC-SA-2.0": ("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0"),
    "CC-BY-NC-SA-3.0": ("CC-BY-NC-SA-4.0",),
    "GPL-2.0-or-later": ("GPL-2.0-only", *_GPL_3),
    "GPL-3.0-only": ("AGPL-3.0-only", "AGPL-3.0-or-later"),
    "GPL-3.0-or-later": _GPL_3,
    "AGPL-3.0-or-later": ("AGPL-3.0-only",),
    "LGPL-2.1-only": ("GPL-2.0-only", "GPL-2.0-or-later", *_GPL_3),
    "LGPL-2.1-or-later": ("LGPL-3.0-only", "LGPL-3.0-or-later", "GPL-2.0-only", "GPL-2.0-or-later", *_GPL_3),
    "LGPL-3.0-only": _GPL_3,
    "LGPL-3.0-or-later": ("LGPL-3.0-only", *_GPL_3),
}
"""Under which other licences their own texts let a derivative go."""


@dataclass(frozen=True)
class Licence:
    """A licence by the id that people know it by; `is_spdx` says whether that is one of SPDX's."""

    id: str
    family: Family
    is_spdx: bool = True

    def allows(self, label: Licence) -> bool:
        """Whether what is made from it may be labelled so, as far as keeping its terms goes."""
        return label.id == self.id or label.id in COMPATIBLE.get(self.id, ())


KNOWN: Mapping[str, Licence] = {
    **{id.lower(): Licence(id, family) for family, ids in _BY_FAMILY.items() for id in ids.split()},
    **{id: Licence(id, Family.RESTRICTED, is_spdx=False) for id in _NOT_SPDX.split()},
}


def licence_named(text: str) -> Licence:
    """Return the licence of an id, however it is capitalised; whatever is not in the table is of no known family."""
    wanted = text.strip().lower()
    found = KNOWN.get(_ALIASES.get(wanted, wanted).lower())
    return found or Licence(text.strip() or UNKNOWN, Family.UNKNOWN, is_spdx=False)
