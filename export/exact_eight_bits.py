"""Exact networks with their convolutions in 8 bits: the same integers to the last one, in some .6 of the time.

``export.exact_networks`` writes integers as float32: weights of at most 8 bits, activations of 0 to 255 nearly
everywhere, sums of at most 22 bits, and behind each convolution five operators that bring the sum back to 8 bits. Here
a convolution whose inputs and outputs are such bytes is one in 8 bits, which runtimes compute in integers, and whose
sums they bring back to bytes themselves. Runtimes round halves to even and these networks round them up, so that the
step is the float32 below the power of two: a half, and nothing else, comes to lie above the half then.

That step is right for sums of at most 22 bits and at most 14 bits that are taken away, and for results of 0 or more.
Let 2 ** k be the power of two. The sum is exact in float32, since it has at most 24 bits. Divided by the step, or
multiplied by its reciprocal as a float32, it grows by between 2 ** -24 and 2 ** -22 of itself: a half grows to the next
float32 at least, and of what is rounded to at most 255 nothing grows by 2 ** -k, which the next sum below a half lacks.
What is below 0 is cut off.

Weights are uint8 around 128: with int8 ones of more than 7 bits, CPUs without VNNI would saturate sums of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from duoview.export.channels_last import BLOCK

#: Magnitude that sums must stay below, and most bits that are taken away behind them.
SUM_LIMIT, MOST_SHIFT = 1 << 22, 14
#: Of the quality index, which the knots that are taken off it only bring nearer to 0.
LARGEST_Q = 63
#: What stands for 0 in weights and in activations of either sign.
MIDDLE = 128
#: Ranges of inputs that are integers of 8 bits. Others (sixteenths) are brought to quarters first.
INPUT_RANGES: dict[str, tuple[int, int]] = {"hyper": (-127, 127), "features": (0, 255)}
#: Operators that are taken over as they are: of the quality index, and of what is brought to quarters.
_COPIED = frozenset({"Reshape", "Sub", "Relu", "Abs"})


@dataclass(frozen=True)
class _Tensor:
    """Integers of the network.

    number, byte: names of the tensors that hold them as float32 and as uint8, ``zero`` added; "" for neither yet.
    limits: of what fits 8 bits. most: largest magnitude. enlarged: by what its sides are longer than those of the first
    input. by_block: channels lie by place in the block of DepthToSpace, for nothing else to read.
    """

    number: str = ""
    byte: str = ""
    zero: int = 0
    limits: tuple[int, int] | None = None
    most: float = math.inf
    enlarged: int = 1
    by_block: bool = False


@dataclass(frozen=True)
class _Layer:
    """Convolutions (input, weights, bias, attributes) whose sums, added up, lose ``shift`` bits and are cut off."""

    parts: tuple[tuple[str, NDArray[Any], NDArray[Any], onnx.NodeProto], ...]
    shift: int
    limits: tuple[int, int]


class _Rewriter:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, graph = model, model.graph
        self.constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self.made_by: dict[str, onnx.NodeProto] = {}
        for node in graph.node:
            self.made_by[node.output[0]] = node
            if node.op_type == "Cast" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.shown = {value.name for value in graph.output}
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[str, NDArray[Any]] = {}
        self.now: dict[str, _Tensor] = {}
        for value in graph.input:
            limits = INPUT_RANGES.get(value.name)
            most = LARGEST_Q if value.name == "q" else limits[1] if limits is not None else math.inf
            self.now[value.name] = _Tensor(number=value.name, limits=limits, most=most)
        #: The input whose sides others are measured in: that of the first convolution.
        self.like = graph.input[0].name

    def fail(self, node: onnx.NodeProto, what: str) -> ValueError:
        return ValueError(f"{self.model.graph.name}: {node.output[0]} ({node.op_type}) {what}; expected an exact "
                          "network as export.exact_networks writes it")

    def constant(self, value: NDArray[Any]) -> str:
        """The name of a constant; equal ones are one."""
        for name, known in self.made.items():
            if known.dtype == value.dtype and known.shape == value.shape and np.array_equal(known, value):
                return name
        name = f"eight.{len(self.made)}"
        self.made[name] = value
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _number(self, name: str) -> float | None:
        """A constant of one number; None for anything else."""
        value = self.constants.get(name)
        return float(value.item()) if value is not None and value.size == 1 else None

    def _only_reader(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def _rounding(self, node: onnx.NodeProto | None) -> tuple[int, tuple[int, int], onnx.NodeProto] | None:
        """Of Mul, Add, Floor and Clip one after the other, from the first: bits taken away, limits, and the Clip."""
        if node is None or node.op_type != "Mul":
            return None
        factor, added = self._number(node.input[1]), self._only_reader(node, "Add")
        floor = self._only_reader(added, "Floor") if added is not None and self._number(added.input[1]) == 0.5 else None
        clip = self._only_reader(floor, "Clip") if floor is not None else None
        if clip is None or factor is None or factor <= 0 or not math.log2(factor).is_integer():
            return None
        low, high = (self._number(name) for name in clip.input[1:])
        if low is None or high is None or not (low.is_integer() and high.is_integer()):
            return None
        return -round(math.log2(factor)), (int(low), int(high)), clip

    def layers(self) -> tuple[dict[str, _Layer], set[str]]:
        """By the output that ends it, each layer of convolutions; and the outputs of all operators in them."""
        found: dict[str, _Layer] = {}
        inside: set[str] = set()
        for node in self.model.graph.node:
            if node.op_type != "Round":
                continue
            end = self._rounding(self._only_reader(node, "Mul"))
            source = self.made_by[node.input[0]]
            convolutions = [self.made_by[name] for name in source.input] if source.op_type == "Add" else [source]
            if end is None or any(one.op_type != "Conv" for one in convolutions):
                raise self.fail(node, "does not stand between convolutions and what brings their sums back to integers")
            parts = tuple((one.input[0], self.constants[one.input[1]].astype(np.int64),
                           self.constants[one.input[2]].astype(np.int64), one) for one in convolutions)
            shift, limits, clip = end
            found[clip.output[0]] = _Layer(parts, shift, limits)
            floor = self.made_by[clip.input[0]]
            added = self.made_by[floor.input[0]]
            chain = [*convolutions, source, node, self.made_by[added.input[0]], added, floor, clip]
            inside |= {one.output[0] for one in chain}
        return found, inside

    def as_byte(self, name: str) -> _Tensor:
        """A tensor that has limits of 8 bits, as bytes."""
        now = self.now[name]
        if not now.byte:
            if now.limits is None:
                raise ValueError(f"{self.model.graph.name}: {name} is joined or convolved in 8 bits, and may be beyond "
                                 "them; expected an exact network as export.exact_networks writes it")
            zero = MIDDLE if now.limits[0] < 0 else 0
            byte = self.emit("QuantizeLinear", [now.number, *self._step(1.0, zero)], f"{name}.byte")
            self.now[name] = now = replace(now, byte=byte, zero=zero)
        return now

    def as_number(self, name: str) -> str:
        now = self.now[name]
        if not now.number:
            number = self.emit("DequantizeLinear", [now.byte, *self._step(1.0, now.zero)], f"{name}.number")
            self.now[name] = now = replace(now, number=number)
        return now.number

    def _step(self, step: float, zero: int) -> tuple[str, str]:
        return self.constant(np.array(step, np.float32)), self.constant(np.array(zero, np.uint8))

    def _bounded(self, byte: str, zero: int, limits: tuple[int, int], output: str) -> str:
        """Bytes, cut off where the ends of 8 bits are beyond the limits."""
        low, high = limits[0] + zero, limits[1] + zero
        if (low, high) == (0, 255):
            return byte
        ends = [self.constant(np.array(end, np.uint8)) for end in (low, high)]
        return self.emit("Clip", [byte, *ends], f"{output}.cut")

    def layer(self, output: str, layer: _Layer) -> None:
        """Its convolutions and what follows them. Raises ValueError where sums may need more bits than there are."""
        node = layer.parts[0][3]
        largest: NDArray[Any] = np.zeros(len(layer.parts[0][1]))
        for name, weight, bias, _ in layer.parts:
            largest = largest + np.abs(weight).reshape(len(weight), -1).sum(1) * self.now[name].most + np.abs(bias)
        if largest.max() >= SUM_LIMIT or not 1 <= layer.shift <= MOST_SHIFT:
            raise self.fail(node, f"has sums of up to {largest.max():.0f}, of which {layer.shift} bits are taken away; "
                                  f"at most {SUM_LIMIT - 1} and 1 to {MOST_SHIFT} bits can be")
        bytes_out = layer.limits[0] == 0 and layer.limits[1] <= 255
        order, reader = np.arange(len(largest)), self.readers.get(output, [])
        by_block = bytes_out and [one.op_type for one in reader] == ["DepthToSpace"] and output not in self.shown
        if by_block:
            order = order.reshape(-1, BLOCK, BLOCK).transpose(1, 2, 0).ravel()  # as ``enlarged`` takes them
        parts = [(name, weight[order], bias[order], one) for name, weight, bias, one in layer.parts]
        enlarged = self.now[parts[0][0]].enlarged
        eight = bytes_out and len(parts) == 1 and self.now[parts[0][0]].limits is not None
        sums = (self._in_8_bits(output, *parts[0]) if eight else
                self._in_32_bits(output, parts, 0 if bytes_out else layer.shift))
        if bytes_out:
            step = float(np.nextafter(np.float32(2.0**layer.shift), np.float32(0)))
            byte = self.emit("QuantizeLinear", [sums, *self._step(step, 0)], f"{output}.byte")
            self.now[output] = _Tensor("", self._bounded(byte, 0, layer.limits, output), 0, layer.limits,
                                       layer.limits[1], enlarged, by_block)
            return
        low, high = (self.constant(np.array(value, np.float32)) for value in (layer.limits[0], layer.limits[1] + 0.5))
        number = self.emit("Floor", [self.emit("Clip", [sums, low, high], f"{output}.clip")], output)
        self.now[output] = _Tensor(number, "", 0, None, max(map(abs, layer.limits)), enlarged)

    def _in_8_bits(self, output: str, name: str, weight: NDArray[Any], bias: NDArray[Any], node: onnx.NodeProto) -> str:
        given = self.as_byte(name)
        if np.abs(weight).max() >= MIDDLE:
            raise self.fail(node, f"has a weight of {np.abs(weight).max()}")
        self.made[f"{output}.weight"] = (weight + MIDDLE).astype(np.uint8)
        self.made[f"{output}.bias"] = bias.astype(np.int32)
        one = self.constant(np.array(1, np.float32))
        inputs = [self.emit("DequantizeLinear", [given.byte, *self._step(1.0, given.zero)], f"{output}.given"),
                  self.emit("DequantizeLinear", [f"{output}.weight", *self._step(1.0, MIDDLE)], f"{output}.weights"),
                  self.emit("DequantizeLinear", [f"{output}.bias", one, self.constant(np.array(0, np.int32))],
                            f"{output}.biases")]
        return self._convolve(node, inputs, f"{output}.sum")

    def _in_32_bits(self, output: str, parts: Sequence[tuple[str, NDArray[Any], NDArray[Any], onnx.NodeProto]],
                    shift: int) -> str:
        """shift: bits that the weights take away already, a half added."""
        sums = []
        for number, (name, weight, bias, node) in enumerate(parts):
            half = 0.5 if shift and number == 0 else 0.0
            self.made[f"{output}.weight{number}"] = (weight * 2.0**-shift).astype(np.float32)
            self.made[f"{output}.bias{number}"] = (bias * 2.0**-shift + half).astype(np.float32)
            given = self.as_number(name)
            if not shift and self.made_by_bytes(given):
                raise self.fail(node, "is in float32 between 8 bits and 8 bits, where runtimes make their own of it")
            sums.append(self._convolve(node, [given, f"{output}.weight{number}", f"{output}.bias{number}"],
                                       f"{output}.sum{number}"))
        return sums[0] if len(sums) == 1 else self.emit("Add", sums, f"{output}.sum")

    def made_by_bytes(self, name: str) -> bool:
        return any(node.output[0] == name and node.op_type == "DequantizeLinear" for node in self.nodes)

    def _convolve(self, node: onnx.NodeProto, inputs: Sequence[str], output: str) -> str:
        made = helper.make_node("Conv", list(inputs), [output])
        made.attribute.extend(node.attribute)
        self.nodes.append(made)
        return output

    def quarters(self, node: onnx.NodeProto, shift: int, limits: tuple[int, int], output: str) -> None:
        """Integers that lose bits, rounded half up: with a quarter added none lies at a half."""
        zero, now = MIDDLE if limits[0] < 0 else 0, self.now[node.input[0]]
        if limits[0] + zero < 0 or limits[1] + zero > 255 or shift < 1:
            raise self.fail(node, f"ends at {limits}, {shift} bits taken away")
        moved = self.emit("Add", [self.as_number(node.input[0]), self.constant(np.array(0.25, np.float32))],
                          f"{output}.moved")
        byte = self.emit("QuantizeLinear", [moved, *self._step(2.0**shift, zero)], f"{output}.byte")
        self.now[output] = _Tensor("", self._bounded(byte, zero, limits, output), zero, limits, max(map(abs, limits)),
                                   now.enlarged)

    def enlarged(self, node: onnx.NodeProto) -> None:
        """DepthToSpace of bytes whose channels lie by place in the block: moves of whole rows of channels."""
        now, output = self.as_byte(node.input[0]), node.output[0]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if attributes != {"blocksize": BLOCK, "mode": b"CRD"} or not now.by_block:
            raise self.fail(node, f"is of {attributes}, or not the only one that reads what a convolution puts out")
        biases = (f"{node.input[0]}.bias", f"{node.input[0]}.bias0")
        channels = len(next(self.made[name] for name in biases if name in self.made)) // BLOCK**2
        last = self.emit("Transpose", [now.byte], f"{output}.last", perm=[0, 2, 3, 1])
        split = self.emit("Reshape", [last, self.constant(np.array([0, 0, 0, BLOCK, BLOCK * channels], np.int64))],
                          f"{output}.split")
        rows = self.emit("Transpose", [split], f"{output}.rows", perm=[0, 1, 3, 2, 4])
        factor = BLOCK * now.enlarged
        if "eight.sizes" not in {name for made in self.nodes for name in made.output}:
            self.emit("Gather", [self.emit("Shape", [self.like], "eight.shape"),
                                 self.constant(np.array([0, 2, 3], np.int64))], "eight.sizes", axis=0)
        sizes = self.emit("Mul", ["eight.sizes", self.constant(np.array([1, factor, factor], np.int64))],
                          f"{output}.sizes")
        shape = self.emit("Concat", [sizes, self.constant(np.array([channels], np.int64))], f"{output}.shape", axis=0)
        joined = self.emit("Reshape", [rows, shape], f"{output}.joined")
        byte = self.emit("Transpose", [joined], f"{output}.first", perm=[0, 3, 1, 2])
        self.now[output] = _Tensor("", byte, now.zero, now.limits, now.most, factor)

    def joined(self, node: onnx.NodeProto) -> None:
        parts = [self.as_byte(name) for name in node.input]
        if len({part.zero for part in parts}) > 1 or any(part.by_block for part in parts):
            raise self.fail(node, "joins activations of one sign and of both")
        limits = [part.limits for part in parts if part.limits is not None]
        axis = next(a.i for a in node.attribute if a.name == "axis")
        byte = self.emit("Concat", [part.byte for part in parts], f"{node.output[0]}.byte", axis=axis)
        ends = min(low for low, _ in limits), max(high for _, high in limits)
        self.now[node.output[0]] = _Tensor("", byte, parts[0].zero, ends, max(map(abs, ends)), parts[0].enlarged)

    def output(self, node: onnx.NodeProto) -> None:
        """What is cast and handed out, or handed out as it is."""
        source, output = node.input[0], node.output[0]
        to = next((a.i for a in node.attribute if a.name == "to"), onnx.TensorProto.FLOAT)
        if to == onnx.TensorProto.UINT8 and self.now[source].byte and not self.now[source].zero:
            self.now[output] = _Tensor(number=self.now[source].byte)
        elif node.op_type == "Identity":
            self.emit("Identity", [self.as_number(source)], output)
        else:
            self.emit("Cast", [self.as_number(source)], output, to=to)
            self.now[output] = _Tensor(number=output, most=self.now[source].most)

    def network(self) -> onnx.ModelProto:
        layers, inside = self.layers()
        for node in self.model.graph.node:
            output = node.output[0]
            if output in layers:
                self.layer(output, layers[output])
            elif output in inside or output in self.constants:
                continue
            elif node.op_type == "Mul" and (end := self._rounding(node)) is not None:
                shift, limits, clip = end
                self.quarters(node, shift, limits, clip.output[0])
                inside |= {clip.output[0], clip.input[0], self.made_by[clip.input[0]].input[0]}
            elif node.op_type == "DepthToSpace":
                self.enlarged(node)
            elif node.op_type == "Concat":
                self.joined(node)
            elif output in self.shown or (node.op_type == "Cast" and node.input[0] in self.now):
                self.output(node)
            elif node.op_type in _COPIED:
                for name in node.input:
                    if name in self.constants:
                        self.made[name] = self.constants[name]
                self.nodes.append(node)
                self.now[output] = _Tensor(number=output, most=max(
                    (self.now[name].most for name in node.input if name in self.now), default=math.inf))
            else:
                raise self.fail(node, "has no form in 8 bits")
        graph = self.model.graph
        constants = [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in self.made.items()]
        made = helper.make_model(helper.make_graph(self.nodes, graph.name, list(graph.input), list(graph.output),
                                                   constants),
                                 opset_imports=list(self.model.opset_import), producer_name="duoview")
        made.ir_version = self.model.ir_version
        onnx.checker.check_model(made, full_check=True)
        return made


def exact_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """An exact network that gives the same integers as ``model`` for every input, its convolutions in 8 bits.

    model: as ``export.exact_networks`` writes it, of the machine layer: hyper symbols of 8 bits, features of 0 to 255,
    sixteenths of at most 22 bits and a quality index of at most 63. Raises ValueError, naming the tensor, for a network
    that is built in another way, or whose sums may need more than 22 bits.
    """
    try:
        return _Rewriter(model).network()
    except (KeyError, IndexError, StopIteration, AttributeError) as error:
        raise ValueError(f"{model.graph.name}: is not as export.exact_networks writes it ({type(error).__name__}: "
                         f"{error})") from None
