"""An ONNX network of somebody else's, run by torch, so that gradients pass through it to its input.

Meant for convolutional detectors whose features make a loss: the weights stay as they are, the size of the picture is
free, and only what the wanted tensors need is computed. Reshapes that fix the exported size are refused, except those
of a channel shuffle, which is recognised and done without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

Attributes = dict[str, Any]
#: Sequences of these at the end of a graph only rearrange what it answers.
_ARRANGING = ("Reshape", "Transpose", "Concat", "Identity", "Flatten")


def _padded(a: Attributes, x: Tensor, value: float) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if a.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"auto_pad {a['auto_pad']!r}: only pads that are written out are known")
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    even = pads[:2] == pads[2:] and a.get("auto_pad", b"NOTSET") == b"NOTSET"
    return F.conv2d(x if even else _padded(a, x, 0.0), weight, bias, tuple(a.get("strides", (1, 1))),
                    tuple(pads[:2]) if even else 0, tuple(a.get("dilations", (1, 1))), a.get("group", 1))


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    pads, kernel = a.get("pads", [0, 0, 0, 0]), a["kernel_shape"]
    even = pads[:2] == pads[2:] and all(2 * p <= k for p, k in zip(pads[:2], kernel, strict=True))
    return F.max_pool2d(x if even else _padded(a, x, -torch.inf), kernel, a.get("strides", (1, 1)),
                        tuple(pads[:2]) if even else 0, ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    if any(a.get("pads", [0])) and not a.get("count_include_pad", 0):
        raise ValueError("AveragePool that leaves its padding out of the mean is not known")
    return F.avg_pool2d(_padded(a, x, 0.0), a["kernel_shape"], a.get("strides", (1, 1)),
                        ceil_mode=bool(a.get("ceil_mode", 0)))


def _resize(a: Attributes, x: Tensor, _: Tensor | None, scales: Tensor | None = None, sizes: Tensor | None = None
            ) -> Tensor:
    mode, place = a.get("mode", b"nearest"), a.get("coordinate_transformation_mode", b"half_pixel")
    if scales is None or scales.numel() != 4 or sizes is not None:
        raise ValueError("Resize without scales: sizes of the exported picture cannot serve others")
    factors = [float(s) for s in scales[2:]]
    if mode == b"nearest" and all(f == int(f) for f in factors):
        return F.interpolate(x, scale_factor=factors, mode="nearest")
    if mode == b"linear" and place in (b"half_pixel", b"pytorch_half_pixel", b"align_corners"):
        return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=place == b"align_corners")
    raise ValueError(f"Resize of mode {mode!r} by {factors} with {place!r} is not known")


def _slice(a: Attributes, x: Tensor, *limits: Tensor) -> Tensor:
    given = [[int(v) for v in part] for part in limits]
    starts = given[0] if given else a["starts"]
    ends = given[1] if given else a["ends"]
    axes = given[2] if len(given) > 2 else a.get("axes", list(range(len(starts))))
    steps = given[3] if len(given) > 3 else [1] * len(starts)
    index: list[slice] = [slice(None)] * x.dim()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError(f"Slice with step {step}: only forward steps are known")
        index[axis] = slice(start, end if end < 2**31 - 1 else None, step)
    return x[tuple(index)]


def _pad(a: Attributes, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None) -> Tensor:
    if a.get("mode", b"constant") != b"constant":
        raise ValueError(f"Pad of mode {a['mode']!r} is not known")
    sides = [int(p) for p in (pads if pads is not None else a["pads"])]
    axes = x.dim()
    order = [side for axis in reversed(range(axes)) for side in (sides[axis], sides[axes + axis])]
    return F.pad(x, order, value=float(value) if value is not None else a.get("value", 0.0))


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(float(low) if low is not None else a.get("min"), float(high) if high is not None else a.get("max"))


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _conv,
    "Div": lambda a, x, y: x / y,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda a, x: (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "Pad": _pad,
    "Relu": lambda a, x: torch.relu(x),
    "Resize": _resize,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Sub": lambda a, x, y: x - y,
    "Transpose": lambda a, x: x.permute(a["perm"]),
}
#: What a channel shuffle comes to: every second channel, from the first or from the second.
_SHUFFLED = "every second channel"


@dataclass(frozen=True)
class Node:
    """One operator: what it takes and gives by name; of the optional inputs that are left out the name is empty."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes


class ForeignNetwork:
    """The graph of an ONNX file. Pictures in as (N, C, H, W) float32, tensors of the graph out, by their names.

    Raises ValueError for an operator that is not known, when a tensor that needs it is wanted.
    """

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        self.path = path
        graph = onnx.load(str(path)).graph
        self.constants: dict[str, Tensor] = {}
        for constant in graph.initializer:
            self._keep(constant.name, constant, device)
        self.nodes: list[Node] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and isinstance(attributes.get("value"), onnx.TensorProto):
                self._keep(node.output[0], attributes["value"], device)
            else:
                self.nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes))
        self.nodes = _without_shuffles(self.nodes, self.constants)
        self.producer = {name: node for node in self.nodes for name in node.outputs}
        (self.input,) = (i.name for i in graph.input if i.name not in self.constants)
        self.outputs = tuple(o.name for o in graph.output)

    def _keep(self, name: str, constant: onnx.TensorProto, device: torch.device | None) -> None:
        array = numpy_helper.to_array(constant)
        tensor = torch.from_numpy(np.array(array))
        if tensor.dtype == torch.float16:
            tensor = tensor.float()
        self.constants[name] = tensor.to(device) if tensor.is_floating_point() else tensor

    def features(self) -> tuple[str, ...]:
        """The tensors from which the network goes on at half their size: the last of every resolution."""
        found: list[str] = []
        for node in self.nodes:
            if node.kind == "Conv" and max(node.attributes.get("strides", [1])) > 1:
                source = node.inputs[0]
                if source not in found and any(n.kind == "Conv" for n in self.needed([source])):
                    found.append(source)
        return tuple(found)

    def answers(self) -> tuple[str, ...]:
        """The maps (N, C, h, w) that the outputs are arranged from, in their order."""
        found: list[str] = []

        def walk(name: str) -> None:
            node = self.producer.get(name)
            if node is not None and node.kind in _ARRANGING and node.attributes.get("axis", 0) != 1:
                for source in node.inputs:
                    if source not in self.constants:
                        walk(source)
            elif name not in found:
                found.append(name)

        for name in self.outputs:
            walk(name)
        return tuple(found)

    def needed(self, wanted: Iterable[str]) -> list[Node]:
        """The operators that these tensors depend on, in order."""
        names, nodes = set(wanted), []
        for node in reversed(self.nodes):
            if names & set(node.outputs):
                nodes.append(node)
                names |= set(node.inputs)
        return nodes[::-1]

    def run(self, picture: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """The tensors of these names. Gradients reach ``picture``."""
        values = {**self.constants, self.input: picture}
        for node in self.needed(wanted):
            if node.kind == _SHUFFLED:
                values[node.outputs[0]] = values[node.inputs[0]][:, node.attributes["first"]::2]
                continue
            if node.kind not in OPERATORS or len(node.outputs) != 1:
                raise ValueError(f"{self.path}: operator {node.kind} (of {node.outputs[0]}) is not among those known "
                                 f"here: {', '.join(sorted(OPERATORS))}")
            given = [values[name] if name else None for name in node.inputs]
            while given and given[-1] is None:
                given.pop()
            try:
                values[node.outputs[0]] = OPERATORS[node.kind](node.attributes, *given)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{self.path}: {node.kind} (of {node.outputs[0]}): {error}") from error
        return [values[name] for name in wanted]


def _without_shuffles(nodes: Sequence[Node], constants: dict[str, Tensor]) -> list[Node]:
    """Replace ShuffleNet's split by the channels it takes.

    (N, 2c, h, w) reshaped to (Nc, 2, hw), transposed to (2, Nc, hw), reshaped to (2, N, c, h, w), and one half of that.
    """
    producer = {name: node for node in nodes for name in node.outputs}

    def source_of(node: Node) -> str | None:
        chain, name = [], node.inputs[0]
        for _ in range(3):
            before = producer.get(name)
            if before is None:
                return None
            chain.append(before)
            name = before.inputs[0]
        if [n.kind for n in chain] != ["Reshape", "Transpose", "Reshape"]:
            return None
        if any(len(n.inputs) < 2 or n.inputs[1] not in constants for n in chain[::2]):
            return None
        last, first = constants[chain[0].inputs[1]].tolist(), constants[chain[2].inputs[1]].tolist()
        if chain[1].attributes["perm"] != [1, 0, 2] or first[1:2] != [2] or last[:1] != [2] or len(last) != 5:
            return None
        return name

    found = []
    for node in nodes:
        if node.kind == "Gather" and node.attributes.get("axis", 0) == 0 and node.inputs[1] in constants:
            source = source_of(node)
            if source is not None:
                node = Node(_SHUFFLED, (source,), node.outputs, {"first": int(constants[node.inputs[1]])})
        found.append(node)
    return found
