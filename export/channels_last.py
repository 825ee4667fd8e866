"""DepthToSpace of what a convolution in 8 bits puts out, as moves of whole rows of channels.

onnxruntime computes convolutions in 8 bits with channels last, and DepthToSpace value by value, in one thread: of a
synthesis network in 8 bits that is a twentieth of the time. With channels last it is two transpositions of runs of
bytes, of which the runtime takes out those that undo each other. Not a number changes.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

#: Side of the blocks.
BLOCK = 2


def rearranged(model: onnx.ModelProto, like: str) -> onnx.ModelProto:
    """A copy in which each such DepthToSpace is made of transpositions.

    like: an input of the network, (N, C, H, W), of the height and width that they put out. A network without any comes
    back as it is, and what something else reads of, on the way or of the weights, stays. Raises ValueError for an
    operator of another kind than ``GraphBuilder.shuffle`` makes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {c.name: c for c in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    nodes: list[onnx.NodeProto] = []
    taken: set[str] = set()
    for node in graph.node:
        source = made_by.get(node.input[0]) if node.input else None
        of_8_bits = source is not None and source.op_type == "DequantizeLinear"
        quantiser = made_by.get(source.input[0]) if source is not None and of_8_bits else None
        if node.op_type != "DepthToSpace" or source is None or quantiser is None:
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        convolution = made_by[quantiser.input[0]]
        if attributes != {"blocksize": BLOCK, "mode": b"CRD"} or convolution.op_type != "Conv":
            raise ValueError(f"{graph.name}: {node.output[0]} is DepthToSpace {attributes} of {convolution.op_type}; "
                             f"expected blocks of {BLOCK}, mode CRD, of a convolution")
        stored = [name for part in convolution.input[1:]
                  for name in (made_by[part].input if part in made_by else [part])]
        between = [node.input[0], source.input[0], quantiser.input[0], *convolution.input[1:]]
        if any(readers[name] != 1 for name in (*between, *stored)) or not all(name in constants for name in stored):
            nodes.append(node)
            continue
        _reorder(constants, stored)
        channels = constants[stored[0]].dims[0] // BLOCK**2
        nodes += _moves(graph, source, node.output[0], channels, like)
        taken.add(source.output[0])
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.output[0] not in taken)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _reorder(constants: dict[str, onnx.TensorProto], stored: list[str]) -> None:
    """Output channels of weights and bias by place in the block first, then by channel: runs of channels stay whole."""
    for name in stored:
        value = numpy_helper.to_array(constants[name])
        order = np.arange(len(value)).reshape(-1, BLOCK, BLOCK).transpose(1, 2, 0).ravel()
        constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value[order]), name))


def _moves(graph: onnx.GraphProto, source: onnx.NodeProto, output: str, channels: int, like: str
           ) -> list[onnx.NodeProto]:
    def constant(value: list[int], what: str) -> str:
        name = f"{output}.{what}"
        array: NDArray[np.int64] = np.array(value, np.int64)
        graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def step(kind: str, inputs: list[str], what: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{output}.{what}"], **attributes))
        return f"{output}.{what}"

    nodes: list[onnx.NodeProto] = []
    last = step("Transpose", [source.input[0]], "last", perm=[0, 2, 3, 1])
    split = step("Reshape", [last, constant([0, 0, 0, BLOCK, BLOCK * channels], "blocks")], "split")
    rows = step("Transpose", [split], "rows", perm=[0, 1, 3, 2, 4])
    sizes = step("Shape", [like], "sizes")
    batch = step("Gather", [sizes, constant([0], "batch")], "number", axis=0)
    sides = step("Gather", [sizes, constant([2, 3], "sides")], "height_width", axis=0)
    shape = step("Concat", [batch, sides, constant([channels], "channels")], "shape", axis=0)
    joined = step("Reshape", [rows, shape], "joined")
    first = step("Transpose", [joined], "first", perm=[0, 3, 1, 2])
    nodes.append(helper.make_node("DequantizeLinear", [first, *source.input[1:]], [output]))
    return nodes
