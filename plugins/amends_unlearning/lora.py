"""Low-rank adapters on a frozen model (Hu et al., 2022), saved in PEFT's layout.

An adapter never touches the model's weights: it is armed with forward hooks and
disarmed by removing them, so the base comes back bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from amends import BadInput
from amends.records import canonical_json

TARGETS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """The low-rank matrices of one adapter; `weights` carries PEFT's key names.

    Args:
        rank: Inner dimension r.
        layers: Indices of the adapted decoder layers.
        weights: `….lora_A.weight` of shape (r, in) and `….lora_B.weight` of shape (out, r).
    """

    rank: int
    layers: tuple[int, ...]
    weights: Mapping[str, Tensor] = field(repr=False)

    @property
    def scale(self) -> float:
        """Alpha over r; alpha is always 2 r."""
        return 2.0

    def pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield each adapted module's name with its A and B, sorted by name."""
        for name in sorted(self.weights):
            if name.endswith(".lora_A.weight"):
                stem = name.removesuffix(".lora_A.weight")
                yield stem.removeprefix(PREFIX), self.weights[name], self.weights[f"{stem}.lora_B.weight"]

    def parameters(self) -> list[Tensor]:
        """Return every matrix in a fixed order."""
        return [self.weights[name] for name in sorted(self.weights)]

    def through(self, projectors: Mapping[str, Tensor]) -> Adapter:
        """Return the adapter that reads each named layer's input through a matrix of shape (in, in): A P."""
        key = f"{PREFIX}{{}}.lora_A.weight".format
        changed = {key(name): self.weights[key(name)] @ matrix for name, matrix in projectors.items()}
        return Adapter(self.rank, self.layers, {**self.weights, **changed})

    def beside(self, other: Adapter | None) -> Adapter:
        """Return one adapter that does what both do, of the sum of their ranks."""
        if other is None:
            return self
        joined = {
            name: torch.cat([other.weights[name], tensor], dim=0 if name.endswith(".lora_A.weight") else 1)
            for name, tensor in self.weights.items()
        }
        return Adapter(self.rank + other.rank, self.layers, joined)

    def to(self, device: torch.device) -> Adapter:
        """Return the adapter on a device."""
        return Adapter(self.rank, self.layers, {name: tensor.to(device) for name, tensor in self.weights.items()})

    def to_bytes(self) -> bytes:
        """Return the safetensors file: the same matrices, the same bytes."""
        tensors = {name: self.weights[name].detach().cpu().contiguous() for name in sorted(self.weights)}
        return bytes(save_tensors(tensors, metadata={"format": "pt"}))

    def save(self, directory: Path) -> None:
        """Write the two files that `peft.PeftModel.from_pretrained` reads."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / CONFIG).write_bytes(config_bytes(self.rank, self.layers))
        (directory / WEIGHTS).write_bytes(self.to_bytes())

    @contextmanager
    def armed(self, model: nn.Module) -> Iterator[None]:
        """Add the adapter to the model's linear layers while the context lasts."""
        hooks = [
            model.get_submodule(name).register_forward_hook(_added(self.scale, down, up))
            for name, down, up in self.pairs()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def merge(self, model: nn.Module) -> None:
        """Add the adapter to the weights for good: W + (alpha / r) B A."""
        with torch.no_grad():
            for name, down, up in self.pairs():
                model.get_parameter(f"{name}.weight").add_(self.scale * (up @ down))


def _added(scale: float, down: Tensor, up: Tensor) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + F.linear(F.linear(inputs[0], down), scale * up)

    return hook


def fresh(model: Any, layers: int, rank: int, seed: str) -> Adapter:
    """Return an adapter of the top `layers` layers that changes nothing yet: A is drawn from `seed`, B is zero.

    Raises:
        BadInput: The model has fewer layers, or other linear layers than the Llama family.
    """
    depth = model.config.num_hidden_layers
    if not 1 <= layers <= depth:
        raise BadInput(f"the model has {depth} layers; adapt between 1 and {depth} of them, not {layers}")
    adapted = tuple(range(depth - layers, depth))
    generator = torch.Generator().manual_seed(seed_of(seed))
    weights = {}
    for name, module in linears(model, adapted):
        bound = module.in_features**-0.5
        drawn = torch.rand((rank, module.in_features), generator=generator, dtype=torch.float32)
        weights[f"{PREFIX}{name}.lora_A.weight"] = ((2 * drawn - 1) * bound).to(model.device)
        weights[f"{PREFIX}{name}.lora_B.weight"] = torch.zeros(module.out_features, rank, device=model.device)
    return Adapter(rank, adapted, weights)


def linears(model: nn.Module, layers: tuple[int, ...]) -> list[tuple[str, nn.Linear]]:
    """Return the seven linear layers of each of these decoder layers, sorted by name.

    Raises:
        BadInput: The model's layers are built in another way.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in TARGETS and _layer_of(name) in layers
    ]
    if len(found) != len(layers) * len(TARGETS):
        raise BadInput(f"adapters need a model of the Llama family, with {', '.join(TARGETS)} in every layer")
    return sorted(found, key=lambda pair: pair[0])


def _layer_of(name: str) -> int | None:
    numbers = [part for part in name.split(".") if part.isdigit()]
    return int(numbers[0]) if len(numbers) == 1 else None


def config_bytes(rank: int, layers: tuple[int, ...]) -> bytes:
    """Return `adapter_config.json`, with nothing in it that depends on when or where it was written."""
    config = {
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "layers_to_transform": list(layers),
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": list(TARGETS),
        "task_type": "CAUSAL_LM",
    }
    return canonical_json(config) + b"\n"


def from_bytes(data: bytes) -> Adapter:
    """Read an adapter from its safetensors bytes."""
    weights = load_tensors(data)
    layers = sorted({layer for name in weights if (layer := _layer_of(name)) is not None})
    rank = next(tensor.shape[0] for name, tensor in weights.items() if name.endswith(".lora_A.weight"))
    return Adapter(rank, tuple(layers), weights)


def read(directory: Path) -> Adapter:
    """Read an adapter that `Adapter.save` wrote."""
    return from_bytes((directory / WEIGHTS).read_bytes())


def seed_of(text: str) -> int:
    """Return a 63-bit seed that a text stands for."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
