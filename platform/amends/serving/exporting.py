"""Write a version for others: base and adapters in PEFT's layout, and a router without anybody's name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from amends.errors import BadInput
from amends.operation.files import weights_directory
from amends.records import canonical_json
from amends.serving.encoding import TEMPLATE
from amends.serving.model import attachment_kinds

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
ROUTER = "router.json"
PUBLIC = ("template", "centroids", "threshold")  # everything else of a router may say whom it knows

README = """# An exported model

`base/` is an ordinary Hugging Face directory; `adapters/` has one PEFT adapter per shard. Plain PEFT loads them:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("base")
model = AutoModelForCausalLM.from_pretrained("base")
{loading}
```

A prompt is put as {template}; the answer follows after a space and ends with `tokenizer.eos_token`.
{routing}{missing}
This copy is outside Amends: what is erased there is still here, until you take the next export and delete this one.
"""
ROUTING = """
`router.json` says which adapter answers: embed the question with all-MiniLM-L6-v2 (unit length), take the
centroid with the largest dot product, and its shard's adapter if the product reaches `threshold`, else the base alone.
Routing by name is left out, because it needs keyed hashes of names; answers can differ from the served version's.
"""
MISSING = """
Not in this export, because PEFT knows no such part: {kinds}. The served version has it, so answers differ.
"""


def export_peft(version: Path, destination: Path) -> Path:
    """Write `base/`, `adapters/<name>/`, `router.json` where there is one, and a `README.md`.

    Args:
        version: A version's directory, with `base/` beside it where it refers to a base.
        destination: A new or empty directory; it appears whole or not at all.

    Raises:
        BadInput: Something is at the destination already, the disk is full, or nothing but the base could be written.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise BadInput(f"{destination} is not an empty directory; name a new one")
    unfinished = destination.with_name(f".{destination.name}.{os.getpid()}.unfinished")
    try:
        _write(version, unfinished)
        os.replace(unfinished, destination)
    except OSError as error:
        raise BadInput(f"cannot write {destination} ({error.strerror}); make room and export again") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return destination


def adapters_of(version: Path) -> dict[str, Path]:
    """Return the folders of a version's adapters by the name they are exported under, in a fixed order."""
    named: dict[str, Path] = {}
    for kind, folder in _adapter_folders(version):
        named[f"{kind}-{folder.name}" if folder.name in named else folder.name] = folder
    return named


def _write(version: Path, target: Path) -> None:
    adapters, routers = adapters_of(version), []
    shutil.copytree(weights_directory(version), target / "base", copy_function=shutil.copyfile)
    for name, folder in adapters.items():
        (target / "adapters" / name).mkdir(parents=True)
        shutil.copyfile(folder / WEIGHTS, target / "adapters" / name / WEIGHTS)
        config = json.loads((folder / CONFIG).read_bytes()) | {"base_model_name_or_path": "base"}
        (target / "adapters" / name / CONFIG).write_bytes(canonical_json(config))
    for kind in attachment_kinds(version):
        router = version / "attachments" / kind / ROUTER
        if router.exists():
            routers.append(kind)
            name = ROUTER if len(routers) == 1 else f"{kind}-{ROUTER}"
            (target / name).write_bytes(canonical_json(_public(json.loads(router.read_bytes()))))
    carried = {folder.parent.name for folder in adapters.values()} | set(routers)
    missing = [kind for kind in attachment_kinds(version) if kind not in carried]
    if missing and not carried:
        raise BadInput(
            f"everything that was changed lies in {', '.join(missing)}, for which PEFT has no part: an export "
            "would be the bare base; load the version through mlflow.pyfunc where Amends is installed"
        )
    (target / "README.md").write_text(_readme(list(adapters), bool(routers), missing), encoding="utf-8")


def _adapter_folders(version: Path) -> Iterator[tuple[str, Path]]:
    for kind in attachment_kinds(version):
        for config in sorted((version / "attachments" / kind).glob(f"*/{CONFIG}")):
            yield kind, config.parent


def _public(router: dict[str, object]) -> dict[str, object]:
    return {key: router[key] for key in PUBLIC if key in router}


def _readme(names: list[str], is_routed: bool, missing: list[str]) -> str:
    first = 'model = PeftModel.from_pretrained(model, "adapters/{0}", adapter_name="{0}")'
    more = 'model.load_adapter("adapters/{0}", adapter_name="{0}")'
    lines = [(more if place else first).format(name) for place, name in enumerate(names)]
    if names:
        lines.append(f'model.set_adapter("{names[0]}")  # one at a time; model.disable_adapter() for the base alone')
    return README.format(
        loading="\n".join(lines),
        template=repr(TEMPLATE),
        routing=ROUTING if is_routed else "",
        missing=MISSING.format(kinds=", ".join(missing)) if missing else "",
    )
