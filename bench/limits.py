"""What limits a network on a device: each operator's time beside the least that arithmetic and memory would take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from duoview.backends.engine_shapes import input_shapes, units
from duoview.backends.onnxruntime_cpu import CpuBackend
from duoview.device.networks import ArrayNetwork
from duoview.export import torch_backend
from duoview.export.torch_device import TorchDeviceNetwork, TorchDeviceNetworks

Seconds = Callable[[Callable[[], object]], float]
#: Those that every picture goes through.
NETWORKS = ("encoder", "decoder", "key_analysis", "key_hyper", "key_context", "key_synthesis", "inter_analysis",
            "inter_hyper", "inter_context", "inter_synthesis")
_NAMES = {function: kind for kind, function in torch_backend.OPERATORS.items()}


def name_of(function: torch_backend.Operator) -> str:
    """ONNX's name of an operator of the torch backend; casts are bound to their type there."""
    return "Cast" if isinstance(function, partial) else _NAMES[function]


@dataclass(frozen=True)
class Floors:
    """What this device does at best, measured: float32 multiply-adds (no TF32) and copied bytes, both a second.

    launch_seconds: of an operator with next to no work, one of many in a row; on a GPU that is the host's time.
    """

    macs_a_second: float
    bytes_a_second: float
    launch_seconds: float = 6e-6

    def launches(self, taken: float, count: float, least: float) -> bool:
        """True where launching holds up ``count`` operators that took so many seconds and could take ``least``."""
        return taken < 1.5 * count * self.launch_seconds and least < taken / 2

    @classmethod
    def measured(cls, seconds: Seconds, device: str, *, small: bool) -> Self:
        side, size = (128, 1 << 16) if small else (8192, 1 << 30)
        a, b = (torch.randn(side, side, device=device) for _ in range(2))
        source = torch.zeros(size, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        one, many = torch.zeros(16, device=device), 200
        return cls(side**3 / seconds(lambda: a @ b), 2 * size / seconds(lambda: target.copy_(source)),
                   seconds(lambda: [one.add_(1) for _ in range(many)]) / many)


@dataclass(frozen=True)
class Operator:
    """Operators of one kind in a network: milliseconds, the two floors, and which of them is nearer.

    of_floor: the greater floor over the time; 1 is the best there can be.
    """

    kind: str
    count: int
    milliseconds: float
    arithmetic_ms: float
    memory_ms: float
    limit: str
    of_floor: float


def graph_of(network: ArrayNetwork) -> torch_backend.TorchNetwork:
    """What a network of `TorchDeviceNetworks` is made of. Raises TypeError for one of another library."""
    if not isinstance(network, TorchDeviceNetwork):
        raise TypeError(f"network is a {type(network).__name__}; expected one of TorchDeviceNetworks")
    return network.network


def _size(tensors: list[Any]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors if isinstance(one, Tensor))


def _macs(kind: str, given: list[Any], made: list[Tensor]) -> int:
    if kind == "Conv":
        return made[0].numel() * math.prod(given[1].shape[1:])
    if kind == "Gemm":
        return made[0].numel() * given[0].shape[1]
    return sum(one.numel() for one in made)


@torch.no_grad()
def macs_of_network(network: torch_backend.TorchNetwork, inputs: dict[str, Tensor]) -> int:
    """Multiply-adds of a network for inputs of these shapes; an element of what is no product counts as one."""
    values: dict[str, Any] = {**network.constants, **inputs}
    total = 0
    for function, attributes, sources, targets in network.nodes:
        given: list[Any] = [values[source] if source else None for source in sources]
        result = function(attributes, *given)
        made: list[Tensor] = list(result) if isinstance(result, tuple) else [result]
        values.update(zip(targets, made, strict=True))
        total += _macs(name_of(function), given, made)
    return total


def _operator(kind: str, count: int, taken: float, macs: int, moved: int, floors: Floors) -> Operator:
    arithmetic, memory = macs / floors.macs_a_second, moved / floors.bytes_a_second
    least = max(arithmetic, memory)
    limit = "launches" if floors.launches(taken, count, least) else "arithmetic" if arithmetic > memory else "memory"
    return Operator(kind, count, 1e3 * taken, 1e3 * arithmetic, 1e3 * memory, limit, least / taken if taken else 1.0)


@torch.no_grad()
def limits(networks: TorchDeviceNetworks, seconds: Seconds, floors: Floors, width: int, height: int) -> dict[str, Any]:
    """Every network as a whole, its kinds of operators by time, and the operator that takes longest of all."""
    found: dict[str, Any] = {"floors": asdict(floors), "networks": {}}
    worst: tuple[float, dict[str, Any]] = (0.0, {})
    for name in NETWORKS:
        network = graph_of(networks[name])
        signature = CpuBackend(1).load(networks.profile.path(name)).signature
        shapes = input_shapes(name, signature, *units(width, height))
        kinds = {"float": torch.float32, "uint8": torch.uint8, "int64": torch.int64}
        inputs = {spec.name: torch.ones(shapes[spec.name], dtype=kinds[spec.dtype], device=network.device)
                  for spec in signature.inputs}
        values: dict[str, Any] = {**network.constants, **inputs}
        totals: dict[str, list[float]] = {}
        for function, attributes, sources, targets in network.nodes:
            given: list[Any] = [values[source] if source else None for source in sources]
            result = function(attributes, *given)
            made: list[Tensor] = list(result) if isinstance(result, tuple) else [result]
            values.update(zip(targets, made, strict=True))
            taken = seconds(lambda f=function, a=attributes, g=given: f(a, *g))  # type: ignore[misc]
            kind = name_of(function)
            if kind == "Conv":
                kind = "Conv depthwise" if given[1].shape[1] == 1 else f"Conv {given[1].shape[2]}x{given[1].shape[3]}"
            macs, moved = _macs(name_of(function), given, made), _size(given) + _size(made)
            row = totals.setdefault(kind, [0, 0.0, 0, 0])
            for place, number in enumerate((1, taken, macs, moved)):
                row[place] += number
            if taken > worst[0]:
                one = _operator(kind, 1, taken, macs, moved, floors)
                worst = (taken, {"network": name, **asdict(one), "shapes": [list(t.shape) for t in made]})
        whole = seconds(lambda n=network, i=inputs: n.tensors(**i))  # type: ignore[misc]
        rows = [_operator(kind, int(row[0]), row[1], int(row[2]), int(row[3]), floors) for kind, row in totals.items()]
        rows.sort(key=lambda one: -one.milliseconds)
        macs_ms = sum(one.arithmetic_ms for one in rows)
        memory_ms = sum(one.memory_ms for one in rows)
        found["networks"][name] = {"milliseconds": 1e3 * whole, "arithmetic_ms": macs_ms, "memory_ms": memory_ms,
                                   "operators": [asdict(one) for one in rows[:6]]}
    found["longest"] = worst[1]
    found["good"] = True
    return found
