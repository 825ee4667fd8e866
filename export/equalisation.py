"""Channels of a network brought to like ranges before it is quantised; what the network computes stays the same.

Activations in 8 bits have one range for all channels of a tensor: a channel with a tenth of it is left with 25 steps.
Between two convolutions that only a leaky rectifier separates, a channel may be divided by any positive number if the
weights that read it are multiplied by it (Nagel et al., ICCV 2019). How the spread is shared between activations and
weights, which have a range for each output channel, is as in SmoothQuant (Xiao et al., ICML 2023).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

# onnxruntime 1.30 and later write files and phone home at import unless told not to; a user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

#: Inputs of one call of a network, by name.
Sample = Mapping[str, NDArray[Any]]
#: Share of the spread of the activations that the weights take over.
SHARE = 0.5
#: Factors stay within this, so that a channel that calibration never saw at work is not blown up.
MOST = 64.0
_BETWEEN = frozenset(("LeakyRelu", "Relu"))


@dataclass(frozen=True)
class Pair:
    """Two convolutions, the second a pointwise one and the only reader of the first; tensor: what it reads."""

    first: onnx.NodeProto
    second: onnx.NodeProto
    tensor: str


def _scalable(model: onnx.ModelProto) -> frozenset[str]:
    """Outputs of the convolutions whose weights and biases are constants that nothing else reads."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    own = {constant.name for constant in model.graph.initializer if uses[constant.name] == 1}
    return frozenset(node.output[0] for node in model.graph.node
                     if node.op_type == "Conv" and all(name in own for name in node.input[1:]))


def _group(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def pairs(model: onnx.ModelProto) -> list[Pair]:
    """Pairs of convolutions whose channels in between may be scaled freely, in the order of the graph."""
    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shown = {value.name for value in graph.output}
    constants, scalable = {constant.name: constant for constant in graph.initializer}, _scalable(model)
    found = []
    for node in graph.node:
        if node.output[0] not in scalable:
            continue
        tensor, following = node.output[0], readers.get(node.output[0], [])
        if len(following) == 1 and following[0].op_type in _BETWEEN and tensor not in shown:
            tensor = following[0].output[0]
            following = readers.get(tensor, [])
        if len(following) != 1 or tensor in shown or following[0].output[0] not in scalable:
            continue
        second = following[0]
        if _group(second) == 1 and list(constants[second.input[1]].dims[2:]) == [1, 1]:
            found.append(Pair(node, second, tensor))
    return found


@dataclass(frozen=True)
class Stream:
    """What residual blocks add to: convolutions that write it and that read it; tensors: those that are quantised."""

    writers: tuple[onnx.NodeProto, ...]
    readers: tuple[onnx.NodeProto, ...]
    tensors: tuple[str, ...]


def streams(model: onnx.ModelProto) -> list[Stream]:
    """Streams whose channels may be scaled freely: written and read by convolutions alone, added up in between."""
    graph = model.graph
    constants, scalable = {constant.name: constant for constant in graph.initializer}, _scalable(model)
    writer = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shown = {value.name for value in graph.output}
    seen: set[str] = set()
    found = []
    for start in graph.node:
        if start.op_type != "Add" or start.output[0] in seen:
            continue
        members, waiting, free = set[str](), [start.output[0]], True
        writing: list[onnx.NodeProto] = []
        reading: list[onnx.NodeProto] = []
        while waiting:
            name = waiting.pop()
            if name in members:
                continue
            members.add(name)
            source = writer.get(name)
            if source is None or name in shown:
                free = False
            elif source.op_type == "Conv":
                writing.append(source)
            elif source.op_type == "Add":
                waiting += source.input
            elif source.op_type == "Mul":
                waiting.append(source.input[0])
            else:
                free = False
            for node in readers.get(name, ()):
                if node.op_type == "Conv" and node.input[0] == name:
                    reading.append(node)
                elif node.op_type == "Add" or (node.op_type == "Mul" and node.input[0] == name):
                    waiting += node.output
                else:
                    free = False
        seen |= members
        fixed = all(node.output[0] in scalable for node in (*writing, *reading)) and all(
            _group(node) == 1 or list(constants[node.input[1]].dims[:2]) == [_group(node), 1] for node in reading)
        # A product of two of the stream's own values would be scaled twice.
        fixed &= not any(node.op_type == "Mul" and members.issuperset(node.input) for node in graph.node)
        if free and fixed and writing and reading:
            tensors = dict.fromkeys([node.output[0] for node in writing] + [node.input[0] for node in reading])
            found.append(Stream(tuple(writing), tuple(reading), tuple(tensors)))
    return found


def observed(model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Sample]
             ) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Values of the tensors, float32 (N, C, H, W), for one sample after the other, by onnxruntime."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for sample in samples:
        yield dict(zip(tensors, session.run(list(tensors), dict(sample)), strict=True))


def channel_ranges(model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Sample]
                   ) -> dict[str, NDArray[np.float32]]:
    """Largest magnitude of every channel of the tensors, (C,), over the samples."""
    found: dict[str, NDArray[np.float32]] = {}
    for values in observed(model, tensors, samples):
        for name, value in values.items():
            largest = np.abs(value).max((0, 2, 3))
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found


def equalised(model: onnx.ModelProto, samples: Sequence[Sample], share: float = SHARE, *, parts: int = 1
              ) -> onnx.ModelProto:
    """A copy in which the channels between two convolutions have ranges as like as the weights allow.

    model: with float32 constants (``precision.folded``). samples: inputs of the network. parts: of an octave, that
    factors are whole numbers of; with one they are powers of two, and the copy computes what the model does to the bit.
    Raises ValueError without samples.
    """
    if not samples:
        raise ValueError(f"{model.graph.name}: no samples to calibrate with")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {constant.name: constant for constant in copy.graph.initializer}
    between, through = pairs(copy), streams(copy)
    tensors = [pair.tensor for pair in between] + [name for stream in through for name in stream.tensors]
    if not tensors:
        return copy
    ranges = channel_ranges(copy, list(dict.fromkeys(tensors)), samples)

    def change(name: str, factor: NDArray[Any]) -> None:
        constants[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constants[name]) * factor, name))

    def divide_outputs(node: onnx.NodeProto, factor: NDArray[Any]) -> None:
        change(node.input[1], 1 / factor[:, None, None, None])
        for bias in node.input[2:]:
            change(bias, 1 / factor)

    for stream in through:
        # Nothing is moved to weights here: those that write have a range for each output channel, and so have the
        # depthwise ones that read.
        shares = [ranges[name] / max(float(ranges[name].max()), 1e-30) for name in stream.tensors]
        factor = _factors(np.max(shares, 0), parts)
        for name in stream.tensors:
            ranges[name] = ranges[name] / factor
        for node in stream.writers:
            divide_outputs(node, factor)
        for node in stream.readers:
            depthwise = _group(node) > 1
            change(node.input[1], factor[:, None, None, None] if depthwise else factor[None, :, None, None])
    for pair in between:
        weight = numpy_helper.to_array(constants[pair.second.input[1]])
        seen, reading = ranges[pair.tensor], np.abs(weight).max((0, 2, 3))
        factor = _factors(seen ** share * np.maximum(reading, 1e-30) ** (share - 1), parts)
        divide_outputs(pair.first, factor)
        change(pair.second.input[1], factor[None, :, None, None])
    return copy


def _factors(wanted: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """The nearest ones of ``parts`` an octave, around 1. Powers of two change no mantissa.

    A channel that calibration never saw at work keeps its scale.
    """
    factor = np.ones(wanted.shape, np.float32)
    alive = wanted > 1e-20
    if alive.any():
        logarithm = np.log2(wanted[alive])
        span = np.log2(MOST)
        factor[alive] = 2 ** (np.rint(parts * np.clip(logarithm - np.median(logarithm), -span, span)) / parts)
    return factor
