"""A profile's ONNX graphs executed by torch: the reference beside onnxruntime, and a way onto GPUs with torch alone.

It reads the same files as every backend, so what it computes is what was shipped, not what was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.generic]
Attributes = dict[str, object]
_KINDS = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.FLOAT16: torch.float16,
          onnx.TensorProto.UINT8: torch.uint8, onnx.TensorProto.INT8: torch.int8, onnx.TensorProto.INT16: torch.int16,
          onnx.TensorProto.INT32: torch.int32, onnx.TensorProto.INT64: torch.int64}


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    pads, strides, group = a["pads"], a["strides"], a["group"]
    assert isinstance(pads, list) and isinstance(strides, list) and isinstance(group, int)
    return F.conv2d(x, weight, bias, stride=strides[0], padding=pads[0], groups=group)


def _space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    size = a["blocksize"]
    assert isinstance(size, int)
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // size, size, w // size, size)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(n, c * size * size, h // size, w // size)


def _depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    if a["mode"] != b"CRD":
        raise ValueError(f"DepthToSpace of mode {a['mode']!r}: only CRD is used by duoview's graphs")
    size = a["blocksize"]
    assert isinstance(size, int)
    return F.pixel_shuffle(x, size)


def _resize(a: Attributes, x: Tensor, _: Tensor | None, scales: Tensor) -> Tensor:
    factors = [float(s) for s in scales[2:]]
    if a["mode"] == b"nearest":
        return F.interpolate(x, scale_factor=factors, mode="nearest")
    return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)


def _pool(a: Attributes) -> tuple[list[int], list[int], int]:
    kernel, strides, pads = a["kernel_shape"], a["strides"], a.get("pads", [0])
    assert isinstance(kernel, list) and isinstance(strides, list) and isinstance(pads, list)
    return kernel, strides, pads[0]


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ (weight.T if a.get("transB") else weight) + bias


def _int(a: Attributes, name: str) -> int:
    value = a[name]
    assert isinstance(value, int)
    return value


def _ints(a: Attributes, name: str) -> list[int]:
    values = a[name]
    assert isinstance(values, list)
    return values


def _along(x: Tensor, a: Attributes, parameter: Tensor) -> Tensor:
    """A scale or zero point with as many axes as x: of one number, or one for each place along an axis."""
    if parameter.ndim == 0:
        return parameter
    shape = [1] * x.ndim
    shape[_int(a, "axis")] = -1
    return parameter.reshape(shape)


def _quantise(a: Attributes, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    limits = torch.iinfo(zero.dtype)
    steps = torch.round(x / _along(x, a, scale)) + _along(x, a, zero).to(scale.dtype)
    return steps.clamp(limits.min, limits.max).to(zero.dtype)


def _dequantise(a: Attributes, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return (x.to(scale.dtype) - _along(x, a, zero).to(scale.dtype)) * _along(x, a, scale)


def _cast(kind: torch.dtype, _: Attributes, x: Tensor) -> Tensor:
    return x.to(kind)


def _shape(device: torch.device, _: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(x.shape, device=device)


def _widened(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


Operator = Callable[..., Tensor | tuple[Tensor, ...]]
_HOST = torch.device("cpu")
#: Inputs that are read as Python's numbers, from so many on.
SETTINGS = {"Reshape": 1, "Split": 1, "Squeeze": 1, "Unsqueeze": 1, "Clip": 1, "Resize": 1}
#: By ONNX operator: attributes and inputs to outputs.
OPERATORS: dict[str, Operator] = {
    "Abs": lambda a, x: x.abs(),
    "Add": lambda a, x, y: x + y,
    "AveragePool": lambda a, x: F.avg_pool2d(x, *_pool(a)),
    "Clip": lambda a, x, low, high: x.clamp(float(low), float(high)).to(x.dtype),
    "Concat": lambda a, *parts: torch.cat(parts, _int(a, "axis")),
    "Conv": _conv,
    "Cos": lambda a, x: torch.cos(x),
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantise,
    "Floor": lambda a, x: torch.floor(x),
    "Gather": lambda a, x, index: torch.index_select(x, _int(a, "axis"), index),
    "Gemm": _gemm,
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, float(a["alpha"])),
    "MaxPool": lambda a, x: F.max_pool2d(x, *_pool(a)),
    "Mul": lambda a, x, y: x * y,
    "QuantizeLinear": _quantise,
    "ReduceMax": lambda a, x: x.amax(tuple(a["axes"]), keepdim=bool(a["keepdims"])),
    "ReduceMean": lambda a, x: x.mean(tuple(a["axes"]), keepdim=bool(a["keepdims"])),
    "Relu": lambda a, x: torch.relu(x),
    "Reshape": lambda a, x, shape: x.reshape([int(s) or x.shape[i] for i, s in enumerate(shape)]),
    "Resize": _resize,
    "Round": lambda a, x: torch.round(x),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Sin": lambda a, x: torch.sin(x),
    "SpaceToDepth": _space_to_depth,
    "Split": lambda a, x, sizes: torch.split(x, [int(s) for s in sizes], _int(a, "axis")),
    "Squeeze": lambda a, x, axes: x.squeeze([int(axis) for axis in axes]),
    "Sub": lambda a, x, y: x - y,
    "Transpose": lambda a, x: x.permute(*_ints(a, "perm")),
    "Unsqueeze": lambda a, x, axes: x[(...,) + (None,) * len(axes)],
}


def settings(graph: onnx.GraphProto) -> set[str]:
    """Tensors that are read as Python's numbers and nothing else, sizes above all: a GPU's would be waited for."""
    found: set[str] = set()
    others: set[str] = set()
    for node in reversed(graph.node):
        first = SETTINGS.get(node.op_type, len(node.input))
        if node.op_type != "Shape" and not found.isdisjoint(node.output):
            first = 0
        found.update(node.input[first:])
        others.update(node.input[:first])
    found -= others
    # Sizes are computed where they are: what has one input on the GPU has all of them there.
    left = 0
    while left != len(found):
        left = len(found)
        for node in graph.node:
            if node.op_type != "Shape" and not found.isdisjoint(node.output) and not found.issuperset(node.input):
                found -= set(node.output)
            if found.isdisjoint(node.output):
                found -= set(node.input[:SETTINGS.get(node.op_type, len(node.input))])
    return found


class TorchNetwork:
    """One graph; call it like any network of a backend.

    double: what the graph computes in float32 is computed in float64, and comes out so.
    """

    def __init__(self, path: Path, device: torch.device, *, double: bool = False) -> None:
        kinds = _KINDS | {onnx.TensorProto.FLOAT: torch.float64} if double else _KINDS
        graph = onnx.load(str(path)).graph
        self.device = device
        here = settings(graph)
        self.constants = {c.name: torch.from_numpy(numpy_helper.to_array(c).copy()).to(
            _HOST if c.name in here else device) for c in graph.initializer}
        self.outputs = [o.name for o in graph.output]
        self.nodes = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in OPERATORS and node.op_type not in ("Cast", "Shape"):
                raise ValueError(f"{path}: operator {node.op_type} is not among those of duoview's graphs")
            if node.op_type == "Cast":
                kind = kinds[_int(attributes, "to")]
                if node.input[0] in self.constants:
                    # A stored float16 or int8 weight: widen it once.
                    self.constants[node.output[0]] = self.constants.pop(node.input[0]).to(kind)
                    continue
                operator: Operator = partial(_cast, kind)
            elif node.op_type == "Shape":
                operator = partial(_shape, _HOST if node.output[0] in here else device)
            else:
                operator = OPERATORS[node.op_type]
            self.nodes.append((operator, attributes, list(node.input), list(node.output)))
        if double:
            self.constants = {name: _widened(value) for name, value in self.constants.items()}
        self._double = double

    def __call__(self, **inputs: Array) -> list[Array]:
        given = {name: torch.from_numpy(np.ascontiguousarray(x)).to(self.device) for name, x in inputs.items()}
        if self._double:
            given = {name: _widened(x) for name, x in given.items()}
        return [output.contiguous().cpu().numpy() for output in self.tensors(**given)]

    @torch.no_grad()
    def tensors(self, **inputs: Tensor) -> list[Tensor]:
        """The same on tensors of the device, which stay there: nothing is copied or waited for."""
        values = {**self.constants, **inputs}
        for operator, attributes, names, outputs in self.nodes:
            result = operator(attributes, *(values[n] if n else None for n in names))
            if isinstance(result, tuple):
                values.update(zip(outputs, result, strict=True))
            else:
                values[outputs[0]] = result
        return [values[name] for name in self.outputs]


class TorchBackend:
    """Loads networks for torch on a device. TF32 stays off: exact networks need full float32 products.

    double: compute in float64 what the graphs compute in float32, to compare with.
    """

    def __init__(self, device: str = "cpu", *, double: bool = False) -> None:
        self.device, self.double = torch.device(device), double
        self.name = f"torch-{self.device.type}"
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def load(self, path: Path) -> TorchNetwork:
        return TorchNetwork(path, self.device, double=self.double)
