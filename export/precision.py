"""Float networks of a profile at another precision: float32 constants, or convolutions in 8-bit integers.

Exact networks never come here, nor do those that make what is handed on from frame to frame: see ``export.variant``
and ``export.exact_synthesis``.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

# onnxruntime 1.30 and later write files and phone home at import unless told not to; a user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from onnxruntime import quantization

from duoview.export.activation_ranges import activation_ranges
from duoview.export.equalisation import Sample, equalised


@dataclass(frozen=True)
class Plan:
    """Which convolutions of a network compute in 8 bits.

    ends: those that read the network's inputs or make its outputs as well; small_ends: small ones of them too.
    depthwise: depthwise ones as well. branches: those as well from which the first output is not reached (the hyper
    symbols' part of an analysis network).
    """

    name: str
    ends: bool
    depthwise: bool
    branches: bool
    small_ends: bool = True


#: A convolution with less than this share of the weights of the largest one is small: in float32 it costs less time
#: than that one, and at the ends of a network most of the error is made.
SMALL = 0.8
#: Everything: four fifths of the time of LARGE, for 1.4 to 7 times its error.
ALL = Plan("all", ends=True, depthwise=True, branches=True)
LARGE = Plan("large", ends=True, depthwise=False, branches=True, small_ends=False)
#: What is tried, from the fastest to the most careful.
PLANS = (LARGE, Plan("pointwise", ends=False, depthwise=False, branches=False))


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose stored float16 and integer weights are float32 constants; it computes the same numbers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    stored = {constant.name: constant for constant in graph.initializer}
    nodes = []
    for node in graph.node:
        constant = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if constant is None or onnx.helper.get_attribute_value(node.attribute[0]) != TensorProto.FLOAT:
            nodes.append(node)
            continue
        wide = numpy_helper.to_array(constant).astype(np.float32)
        graph.initializer.remove(constant)
        graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def chosen(model: onnx.ModelProto, plan: Plan) -> list[str]:
    """Names of the convolutions that a plan takes; nodes must be named. Raises ValueError when it takes none."""
    graph = model.graph
    first = graph.output[0].name
    near_input = {value.name for value in graph.input}
    for node in graph.node:
        # A row of a table is no input, though q says which.
        if node.op_type not in ("Conv", "Gather") and any(name in near_input for name in node.input):
            near_input.update(node.output)
    near_output, reaches_first = {value.name for value in graph.output}, {first}
    for node in reversed(graph.node):
        if any(name in reaches_first for name in node.output):
            reaches_first.update(node.input)
        if node.op_type != "Conv" and any(name in near_output for name in node.output):
            near_output.update(node.input)
    weights = {constant.name: math.prod(constant.dims) for constant in graph.initializer}
    weights |= {node.output[0]: weights[node.input[0]] for node in graph.node
                if node.op_type == "Cast" and node.input[0] in weights}
    weights |= {node.name: weights.get(node.input[1], 0) for node in graph.node if node.op_type == "Conv"}
    large = SMALL * max((weights[node.name] for node in graph.node if node.op_type == "Conv"), default=0)
    found = []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        end = node.input[0] in near_input or node.output[0] in near_output
        ends = plan.ends and (plan.small_ends or weights[node.name] >= large)
        if (ends or not end) and (plan.depthwise or group == 1) and (plan.branches or node.output[0] in reaches_first):
            found.append(node.name)
    if not found:
        raise ValueError(f"{graph.name}: plan {plan.name!r} takes none of its convolutions")
    return found


_PREPROCESSED = {"onnx.quant.pre_process": "onnxruntime.quant"}


class _Samples(quantization.CalibrationDataReader):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = iter([dict(sample) for sample in samples])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._samples, None)


def quantised(model: onnx.ModelProto, samples: Sequence[Sample], plan: Plan, *, signed: bool = False,
              clipped: bool = True) -> onnx.ModelProto:
    """The network with the plan's convolutions in 8 bits: weights int8 per channel, activations uint8 per tensor.

    Channels are brought to like ranges first (``export.equalisation``). Inputs and outputs keep their types, everything
    but those convolutions stays float32. Weights have 7 bits unless ``signed``: CPUs without VNNI or the like add up
    products in pairs of 16 bits, which 8 would saturate; so every CPU computes the same integers.

    Args:
        model: as it is in a profile.
        samples: inputs of the network to find the activations' ranges with.
        plan: which convolutions.
        signed: activations int8 around 0 and biases in float32, the only kind that TensorRT takes.
        clipped: ranges make the least squared error (``export.activation_ranges``); else they hold all that was seen.

    Raises ValueError without samples and for a plan that takes nothing.
    """
    if not samples:
        raise ValueError(f"{model.graph.name}: no samples to calibrate with")
    named = equalised(folded(model), samples)
    for number, node in enumerate(named.graph.node):
        node.name = f"{node.op_type.lower()}.{number}"
    # What onnxruntime calls preprocessing is done: constants are folded, and there are no batch norms to be merged.
    onnx.helper.set_model_props(named, {p.key: p.value for p in model.metadata_props} | _PREPROCESSED)
    taken = set(chosen(named, plan))
    kept = [node.name for node in named.graph.node if node.op_type == "Conv" and node.name not in taken]
    extra: dict[str, Any] = {}
    if signed:
        extra = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    if clipped:
        extra["TensorQuantOverrides"] = {
            name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
            for name, (low, high) in activation_ranges(named, taken, samples).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        quantization.quantize_static(
            named, str(path), _Samples(samples), quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"], nodes_to_exclude=kept, per_channel=True,
            activation_type=quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, reduce_range=not signed, extra_options=extra)
        made = onnx.load(str(path))
    onnx.checker.check_model(made)
    return made
