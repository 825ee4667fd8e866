"""A small builder of ONNX graphs with the operators that duoview's networks use.

The graphs are written operator by operator rather than traced: exact networks must come out as the integer
arithmetic they are, sizes stay dynamic, and the unshuffles become single SpaceToDepth operators.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
#: Metadata key of a weight whose input channels were reordered for the graph.
ORDER_KEY = "order:"
Array = NDArray[np.generic]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Value:
    """A tensor in the graph; ``order[i]`` is the logical channel that stands at channel i (None: in order)."""

    name: str
    order: tuple[int, ...] | None = None


class GraphBuilder:
    """Collects nodes and constants, then makes a checked model.

    ``half``: keep float weights as float16 constants behind a Cast, which runtimes fold when they load the file.
    """

    def __init__(self, name: str, *, half: bool = True) -> None:
        self.name, self.half = name, half
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.count = 0
        self.layers: dict[int, str] = {}
        self.orders: dict[str, list[int]] = {}

    def name_layers(self, network: nn.Module, prefix: str) -> None:
        """Constants of these layers get the layers' names, so that weights can be read back (``export.restore``)."""
        for name, layer in network.named_modules():
            self.layers[id(layer)] = f"{prefix}.{name}" if name else prefix

    def name_of(self, layer: nn.Module, what: str) -> str | None:
        """Name of a parameter's constant, None when its layer was not named."""
        path = self.layers.get(id(layer))
        return None if path is None else f"{path}.{what}"

    def _fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}_{self.count}"

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> Value:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return Value(name)

    def output(self, value: Value, name: str, kind: int, shape: Sequence[str | int]) -> None:
        if value.order is not None:
            raise ValueError(f"{name}: the channels of an output must be in order")
        self.nodes.append(helper.make_node("Identity", [value.name], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def operator(self, kind: str, *inputs: Value | str, order: tuple[int, ...] | None = None, **attributes: object
                 ) -> Value:
        out = self._fresh(kind.lower())
        names = [i if isinstance(i, str) else i.name for i in inputs]
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return Value(out, order)

    def constant(self, array: Array, hint: str = "constant") -> Value:
        """A constant; a hint with a dot in it is the full name of a parameter and is used as it is."""
        name = hint if "." in hint else self._fresh(hint)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return Value(name)

    def number(self, value: float) -> Value:
        return self.constant(np.array(value, np.float32), "number")

    def weights(self, array: NDArray[np.float32], hint: str = "weight") -> Value:
        """A float constant, stored as float16 when the builder is told to."""
        if not self.half:
            return self.constant(array.astype(np.float32), hint)
        return self.operator("Cast", self.constant(array.astype(np.float16), hint), to=TensorProto.FLOAT)

    def integers(self, array: NDArray[np.float32], hint: str = "weight") -> Value:
        """Integer values as float32 in the graph, stored in the narrowest integer type."""
        low, high = float(array.min()), float(array.max())
        kind = np.int8 if low >= -128 and high <= 127 else np.int32
        if not np.array_equal(array, np.floor(array)):
            raise ValueError(f"{self.name}: {hint} is not integer-valued")
        return self.operator("Cast", self.constant(array.astype(kind), hint), to=TensorProto.FLOAT)

    def unshuffle(self, x: Value, block: int, channels: int) -> Value:
        """Space to depth; ONNX puts the offset before the channel, torch after it: ``order`` keeps track."""
        if x.order is not None:
            raise ValueError("unshuffle of reordered channels is not supported")
        order = tuple(c * block * block + offset for offset in range(block * block) for c in range(channels))
        return self.operator("SpaceToDepth", x, blocksize=block, order=order)

    def shuffle(self, x: Value, block: int) -> Value:
        return self.operator("DepthToSpace", x, blocksize=block, mode="CRD")

    def concat(self, *parts: tuple[Value, int]) -> Value:
        """Concatenate along channels; each part is (value, its number of channels)."""
        order: list[int] = []
        base = 0
        for value, channels in parts:
            order += [base + (value.order[c] if value.order is not None else c) for c in range(channels)]
            base += channels
        plain = order == list(range(base))
        return self.operator("Concat", *(v for v, _ in parts), axis=1, order=None if plain else tuple(order))

    def convolve(self, x: Value, weight: NDArray[np.float32], bias: NDArray[np.float32], *, stride: int = 1,
                 exact: bool = False, name: str | None = None) -> Value:
        """Convolution with 'same' padding (none when strided); depthwise when the weight has one input channel."""
        depthwise = weight.shape[1] == 1 and weight.shape[2] > 1
        if x.order is not None:
            if depthwise:
                raise ValueError("depthwise convolution of reordered channels is not supported")
            weight = weight[:, list(x.order)]
            if name is not None:
                self.orders[f"{name}.weight"] = list(x.order)
        store = self.integers if exact else self.weights
        kernel = weight.shape[2]
        pad = kernel // 2 if stride == 1 else 0
        names = (f"{name}.weight", f"{name}.bias") if name is not None else ("weight", "bias")
        return self.operator("Conv", x, store(weight, names[0]), store(bias, names[1]), kernel_shape=[kernel, kernel],
                             strides=[stride, stride], pads=[pad] * 4, group=weight.shape[0] if depthwise else 1)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="duoview")
        model.ir_version = 8
        helper.set_model_props(model, {ORDER_KEY + name: json.dumps(order) for name, order in self.orders.items()})
        onnx.checker.check_model(model, full_check=True)
        return model


def weights_of(model: onnx.ModelProto) -> Weights:
    """The named constants of a graph as float32, input channels back in torch's order."""
    orders = {p.key.removeprefix(ORDER_KEY): json.loads(p.value) for p in model.metadata_props
              if p.key.startswith(ORDER_KEY)}
    weights: Weights = {}
    for constant in model.graph.initializer:
        if "." not in constant.name:
            continue
        array = numpy_helper.to_array(constant).astype(np.float32)
        if constant.name in orders:
            ordered = np.empty_like(array)
            ordered[:, orders[constant.name]] = array
            array = ordered
        weights[constant.name] = array
    return weights
