"""Float networks that compute in float16: convolutions and what only passes their values on."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from duoview.export.precision import folded

#: Operators that compute in float16 where all that comes in is float16 already. Everything else stays float32: gains,
#: quantisers, clamping, means, what makes the outputs.
FOLLOWING = frozenset(("LeakyRelu", "Relu", "Add", "Concat", "SpaceToDepth", "DepthToSpace"))


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float16 where that is safe; inputs and outputs keep their types.

    The types are in the graph, as Casts: a GPU does what they say; onnxruntime's CPU takes them out and computes in
    float32. Raises ValueError for a network without convolutions, and for weights that float16 cannot hold.
    """
    copy = folded(model)
    graph = copy.graph
    constants = {constant.name: constant for constant in graph.initializer}
    half: set[str] = set()
    for node in graph.node:
        given = [name for name in node.input if name and name not in constants]
        if node.op_type == "Conv" or (node.op_type in FOLLOWING and all(name in half for name in given)):
            half.update(node.output)
    if not half:
        raise ValueError(f"{graph.name}: has no convolutions")
    nodes: list[onnx.NodeProto] = []
    casts: dict[tuple[str, int], str] = {}
    added: dict[str, onnx.TensorProto] = {}

    def converted(name: str, kind: int) -> str:
        """The tensor as float16 or float32; made where it is first needed."""
        if name in constants:
            array = numpy_helper.to_array(constants[name])
            if kind == TensorProto.FLOAT or array.dtype != np.float32:
                return name
            with np.errstate(over="ignore"):
                narrow = array.astype(np.float16)
            if not np.isfinite(narrow).all():
                raise ValueError(f"{graph.name}: {name} has values that float16 cannot hold")
            added[f"{name}.half"] = numpy_helper.from_array(narrow, f"{name}.half")
            return f"{name}.half"
        if (name in half) == (kind == TensorProto.FLOAT16):
            return name
        if (name, kind) not in casts:
            casts[name, kind] = f"{name}.{'half' if kind == TensorProto.FLOAT16 else 'float'}"
            nodes.append(helper.make_node("Cast", [name], [casts[name, kind]], to=kind))
        return casts[name, kind]

    for node in graph.node:
        kind = TensorProto.FLOAT16 if node.output[0] in half else TensorProto.FLOAT
        if kind == TensorProto.FLOAT16 or any(name in half for name in node.input):
            for place, name in enumerate(node.input):
                if name:
                    node.input[place] = converted(name, kind)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [constant for constant in (*graph.initializer, *added.values()) if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    onnx.checker.check_model(copy, full_check=True)
    return copy
