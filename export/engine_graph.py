"""An ONNX file of a profile as TensorRT reads it: the same numbers, in types that TensorRT has."""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper

from duoview.errors import EngineError
from duoview.export.precision import folded

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


def precision_of(model: onnx.ModelProto) -> str:
    """``int8``, ``fp16`` or ``fp32``: what the network computes in, by its graph."""
    operators = {node.op_type for node in model.graph.node}
    if operators & set(_QUANTISERS):
        return "int8"
    constants = {constant.name for constant in model.graph.initializer}
    halves = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] not in constants
              and _target(node).i == TensorProto.FLOAT16]
    return "fp16" if halves else "fp32"


def _target(cast: onnx.NodeProto) -> onnx.AttributeProto:
    """The type that a Cast makes; it may have other attributes too."""
    return next(attribute for attribute in cast.attribute if attribute.name == "to")


def engine_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for TensorRT's parser: float32 constants without a Cast, and int32 where an output is int16.

    Raises EngineError for 8-bit networks with zero points, which TensorRT does not take.
    """
    copy = folded(model)
    name = copy.graph.name
    zeros = {node.input[2] for node in copy.graph.node if node.op_type in _QUANTISERS and len(node.input) > 2}
    for constant in copy.graph.initializer:
        if constant.name in zeros and (constant.data_type != TensorProto.INT8 or numpy_helper.to_array(constant).any()):
            raise EngineError(f"{name}: its 8-bit activations have zero points, which TensorRT does not take; expected "
                              "a profile of duoview export -precision int8 -signed")
    graph = copy.graph
    for node in graph.node:
        if node.op_type == "Cast" and _target(node).i == TensorProto.INT16:
            _target(node).i = TensorProto.INT32
    for output in graph.output:
        if output.type.tensor_type.elem_type == TensorProto.INT16:
            output.type.tensor_type.elem_type = TensorProto.INT32
    del graph.value_info[:]
    _without_identities(graph)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _without_identities(graph: onnx.GraphProto) -> None:
    """Outputs named by what makes them: an 8-bit unsigned tensor may only leave a Cast, it may not be copied on."""
    inputs = {value.name for value in graph.input}
    constants = {constant.name for constant in graph.initializer}
    outputs = {value.name for value in graph.output}
    users: dict[str, int] = {}
    for node in graph.node:
        for source in node.input:
            users[source] = users.get(source, 0) + 1
    by_output = {made: node for node in graph.node for made in node.output}
    kept = []
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if (node.op_type == "Identity" and node.output[0] in outputs and users[source] == 1
                and source not in inputs | constants | outputs):
            maker = by_output[source]
            maker.output[list(maker.output).index(source)] = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


