"""Proof that a network of ``export.exact_synthesis`` gives the same numbers on every machine, read from its file.

What is followed through the graph are whole multiples of powers of two and bounds. A convolution may add up its
products in any order when no partial sum needs more than 24 bits. A product has to be exact, so that it is the same
whether or not it is contracted with the sum behind it. A sum of two numbers is rounded once by IEEE 754, on every
machine to the same number; where it may be rounded, Floor or QuantizeLinear has to follow before anything is multiplied
or convolved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

#: Bits of a float32's significand, and fraction bits of nothing but zeros.
SIGNIFICAND, ZEROS = 24, -1000
#: Exponents of the largest magnitude and of the finest grid: far from where a float32 overflows or loses bits.
LARGEST_EXPONENT, FINEST_EXPONENT = 100, 100
#: Operators that hand on the numbers that they are given, or some of them. Runtimes take them out, or move 8 bits past.
MOVES = frozenset({"Identity", "Transpose", "Reshape", "MaxPool", "ReduceMax", "Clip", "DepthToSpace", "SpaceToDepth",
                   "Resize", "Concat"})
#: Operators that read or make 8 bits, and the one between that runtimes compute as the file says: by table.
EIGHT_BITS = frozenset({"Conv", "LeakyRelu", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Grid:
    """Whole multiples of 2 ** -fraction, at most so large, with at most so many significant bits."""

    fraction: int
    bound: float
    significant: float = math.inf

    @property
    def bits(self) -> float:
        """Significant bits that a value may need."""
        return min(self.significant, math.log2(max(self.bound * 2.0**self.fraction, 1.0)))


@dataclass(frozen=True)
class Rounded:
    """The same on every machine, on no grid: inputs, and sums that may have been rounded."""

    bound: float


def fraction_of(values: NDArray[Any]) -> int:
    """Fraction bits of the coarsest grid that holds all values, below 0 for multiples of more than 1; exact."""
    found = ZEROS
    for value in np.unique(np.abs(values[values != 0]).astype(np.float64)):
        mantissa, exponent = math.frexp(value)
        whole = int(mantissa * 2**53)
        found = max(found, 53 - exponent - ((whole & -whole).bit_length() - 1))
    return found


def significant_of(values: NDArray[Any]) -> int:
    """Most significant bits of any of the values."""
    found = 0
    for value in np.unique(np.abs(values[values != 0]).astype(np.float64)):
        whole = int(math.frexp(value)[0] * 2**53)
        found = max(found, 54 - (whole & -whole).bit_length())
    return found


class Proof:
    """Follows a graph; ``sums``: by name of a convolution, the bits that its largest sum may need.

    Raises ValueError naming the tensor, what it may need and what there is.
    """

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Grid | Rounded]) -> None:
        graph = model.graph
        self.name = graph.name
        self.stored = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self.known: dict[str, Grid | Rounded] = dict(inputs)
        self._trace(graph)
        #: Integers with their steps and zero points: what DequantizeLinear makes of them.
        self._integers: dict[str, tuple[float, NDArray[Any]]] = {}
        #: Sizes of tensors, which no arithmetic is done with.
        self._lengths: set[str] = set()
        #: Steps of what DequantizeLinear makes.
        self._steps: dict[str, NDArray[Any]] = {}
        #: Weights and biases of convolutions, as float64.
        self._constants: dict[str, NDArray[Any]] = {
            name: value.astype(np.float64) for name, value in self.stored.items() if value.dtype.kind in "fi"}
        self.sums: dict[str, float] = {}
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            rule = getattr(self, f"_{node.op_type.lower()}", None)
            if rule is None or node.domain not in ("", "ai.onnx"):
                raise ValueError(f"{self.name}: {node.output[0]} is made by {node.op_type}, of which nothing is known; "
                                 "expected a network made by export.exact_synthesis")
            try:
                rule(node, attributes)
            except (KeyError, IndexError, AttributeError, OverflowError) as error:
                raise self._fail(node, f"is not as export.exact_synthesis makes it ({type(error).__name__}: {error})"
                                 ) from None
            self._check_fusion(node)
            self._check_range(node)

    def _numbers(self, node: onnx.NodeProto) -> list[str]:
        """What it computes with and is no constant: of what moves numbers not the sizes and limits."""
        names = node.input[:1] if node.op_type in MOVES - {"Concat"} else node.input
        return [name for name in names if name and name not in self.stored]

    def _trace(self, graph: onnx.GraphProto) -> None:
        """What computes the numbers of each tensor and what computes with them, behind what only moves them."""
        #: By tensor: the operators that computed its numbers.
        self._origins: dict[str, frozenset[str]] = {value.name: frozenset({"input"}) for value in graph.input}
        #: Tensors that runtimes may take for a convolution's sums with something added and multiplied.
        self._linear: set[str] = set()
        #: Places in the graph of what hands numbers on.
        passing: set[int] = set()
        for place, node in enumerate(graph.node):
            given = self._numbers(node)
            if not given and node.op_type != "DequantizeLinear":
                raise self._fail(node, "is computed from constants alone, which runtimes do beforehand; expected a "
                                       "constant in its place")
            # Products and sums with constants are folded into weights, or taken out where they change nothing.
            passes = node.op_type in MOVES or (node.op_type in ("Add", "Mul") and len(given) == 1)
            moved = frozenset[str]().union(*(self._origins.get(name, frozenset()) for name in given))
            linear = node.op_type == "Conv" or ((passes or node.op_type == "Add")
                                                and not self._linear.isdisjoint(given))
            for name in node.output:
                self._origins[name] = moved if passes else frozenset({node.op_type})
                if linear:
                    self._linear.add(name)
            if passes:
                passing.add(place)
        #: By tensor: the operators that compute with its numbers.
        self._ends: dict[str, set[str]] = {}
        for place, node in reversed(list(enumerate(graph.node))):
            ends = {node.op_type}
            if place in passing:
                ends = {kind for name in node.output for kind in self._ends.get(name, ())}
            for name in self._numbers(node):
                self._ends.setdefault(name, set()).update(ends)
        self._check_ends(graph, [graph.node[place] for place in sorted(passing)])

    def _check_ends(self, graph: onnx.GraphProto, passing: list[onnx.NodeProto]) -> None:
        """What is put out must not be read as well: onnxruntime 1.32 brings it to 8 bits where it does so for a reader.

        It moves QuantizeLinear before a Transpose or Reshape, and the tensor that it then stands behind is what is put
        out.
        """
        readers = Counter(name for node in graph.node for name in node.input)
        makers = {name: node for node in passing for name in node.output}
        #: Tensors, and how many readers they have on the way to an output.
        waiting = [(value.name, 0) for value in graph.output]
        while waiting:
            name, read = waiting.pop()
            if readers[name] > read and "QuantizeLinear" in self._ends.get(name, ()):
                raise ValueError(f"{self.name}: {name} is put out, as it is or moved, and brought to 8 bits as well, "
                                 "which runtimes may do to what is put out; expected an output that nothing reads")
            if name in makers:
                waiting += [(given, 1) for given in self._numbers(makers[name])]

    def _from_8_bits(self, node: onnx.NodeProto) -> bool:
        """Whether all that it computes with comes out of 8 bits."""
        before = {self._origins[name] for name in node.input if name in self._origins}
        return bool(before) and before == {frozenset({"DequantizeLinear"})}

    def _check_fusion(self, node: onnx.NodeProto) -> None:
        """onnxruntime computes operators between 8 bits on integers, and does not round sums as the file says."""
        if node.op_type in EIGHT_BITS | MOVES:
            return
        if self._from_8_bits(node) and "QuantizeLinear" in self._ends.get(node.output[0], ()):
            raise self._fail(node, "stands between 8 bits and 8 bits, where runtimes put operators of their own; "
                                   "expected a convolution or a leaky rectifier there")

    def _check_range(self, node: onnx.NodeProto) -> None:
        made = self.known.get(node.output[0])
        if made is None:
            return
        fine = isinstance(made, Rounded) or made.fraction <= FINEST_EXPONENT
        if not fine or made.bound > 2.0**LARGEST_EXPONENT:
            raise self._fail(node, f"has numbers up to {made.bound:.3g} or of 2 ** -{FINEST_EXPONENT} and less, near "
                                   "the ends of what a float32 holds")

    def _fail(self, node: onnx.NodeProto, what: str) -> ValueError:
        return ValueError(f"{self.name}: {node.output[0]} ({node.op_type}) {what}")

    def _grid(self, node: onnx.NodeProto, name: str) -> Grid:
        found = self.known.get(name)
        if not isinstance(found, Grid):
            raise self._fail(node, f"reads {name}, which may have been rounded; expected a tensor on a grid")
        return found

    def _power(self, node: onnx.NodeProto, value: float) -> int:
        exponent = math.log2(value) if value > 0 else math.nan
        if exponent != round(exponent):
            raise self._fail(node, f"has a step or factor of {value}; expected a power of two")
        return round(exponent)

    def _same(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        self.known[node.output[0]] = self.known[node.input[0]]

    _spacetodepth = _depthtospace = _identity = _abs = _reducemax = _maxpool = _same

    def _resize(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        if attributes["mode"] != b"nearest":
            raise self._fail(node, f"is of mode {attributes['mode'].decode()}; expected nearest")
        scales = self.stored[node.input[2]]
        how = attributes.get("coordinate_transformation_mode", b"half_pixel"), attributes.get("nearest_mode")
        if (scales != np.floor(scales)).any() or scales.min() < 1 or how != (b"asymmetric", b"floor"):
            raise self._fail(node, f"enlarges by {scales.tolist()} with {how}; expected whole numbers, asymmetric and "
                                   "floor, where every runtime takes the same pixel")
        self._same(node, attributes)

    def _moved(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        """The same numbers at other places, in 8 bits or not."""
        if node.input[0] in self._integers:
            self._integers[node.output[0]] = self._integers[node.input[0]]
        else:
            self.known[node.output[0]] = self.known[node.input[0]]

    _transpose = _reshape = _moved

    def _shape(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        self._lengths.add(node.output[0])

    def _concat(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        if not self._lengths.isdisjoint(node.input):
            self._lengths.add(node.output[0])
            return
        parts = [self.known[name] for name in node.input]
        bound = max(part.bound for part in parts)
        grids = [part for part in parts if isinstance(part, Grid)]
        self.known[node.output[0]] = (Rounded(bound) if len(grids) < len(parts) else
                                      Grid(max(part.fraction for part in grids), bound,
                                           max(part.significant for part in grids)))

    def _gather(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        if node.input[0] in self._lengths:
            self._lengths.add(node.output[0])
            return
        table = self._constants[node.input[0]]
        self.known[node.output[0]] = Grid(fraction_of(table), float(np.abs(table).max()), significant_of(table))

    def _mul(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        x, factor = node.input
        if factor in self._constants:
            by = float(self._constants[factor].item())
            shift, given = self._power(node, by), self.known[x]
            self.known[node.output[0]] = (Rounded(given.bound * by) if isinstance(given, Rounded) else
                                          Grid(given.fraction - shift, given.bound * by, given.significant))
            return
        first, second = self._grid(node, x), self._grid(node, factor)
        if first.bits + second.bits > SIGNIFICAND:
            raise self._fail(node, f"is a product of {first.bits:.2f} and {second.bits:.2f} bits; {SIGNIFICAND} can be "
                                   "held")
        self.known[node.output[0]] = Grid(first.fraction + second.fraction, first.bound * second.bound,
                                          first.bits + second.bits)

    def _add(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        parts = [Grid(fraction_of(self._constants[name]), float(np.abs(self._constants[name]).max()))
                 if name in self._constants else self.known[name] for name in node.input]
        bound = sum(part.bound for part in parts)
        found: Grid | Rounded = Rounded(bound)
        if all(isinstance(part, Grid) for part in parts):
            grid = Grid(max(part.fraction for part in parts if isinstance(part, Grid)), bound)
            if grid.bits <= SIGNIFICAND:
                found = grid
        if isinstance(found, Rounded) and not self._linear.isdisjoint(node.input):
            raise self._fail(node, "may be rounded and has a convolution's sums among its parts: runtimes add the "
                                   f"other to these one by one; expected {SIGNIFICAND} bits at most")
        self.known[node.output[0]] = found

    def _floor(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        self.known[node.output[0]] = Grid(0, self.known[node.input[0]].bound + 1)

    def _clip(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        low, high = (float(self._constants[name].item()) for name in node.input[1:])
        given, most = self.known[node.input[0]], max(abs(low), abs(high))
        bound = min(given.bound, most) if low <= 0 <= high else most
        if isinstance(given, Rounded):
            self.known[node.output[0]] = Rounded(bound)
            return
        limits = fraction_of(np.array([low, high]))
        self.known[node.output[0]] = Grid(max(given.fraction, limits), bound)

    def _leakyrelu(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        given, slope = self._grid(node, node.input[0]), np.array([attributes["alpha"]])
        if not 0 < slope.item() < 1:
            raise self._fail(node, f"has a slope of {slope.item()}; expected one between 0 and 1")
        if given.bits + significant_of(slope) > SIGNIFICAND:
            raise self._fail(node, f"multiplies {given.bits:.2f} bits by a slope of {significant_of(slope)}; "
                                   f"{SIGNIFICAND} can be held")
        self.known[node.output[0]] = Grid(given.fraction + fraction_of(slope), given.bound,
                                          given.bits + significant_of(slope))

    def _quantizelinear(self, node: onnx.NodeProto, _: Mapping[str, Any]) -> None:
        step, zero = (self.stored[name] for name in node.input[1:])
        self._power(node, float(step.item()))
        if node.input[0] not in self.known:
            raise self._fail(node, f"reads {node.input[0]}, of which nothing is known")
        if self._origins[node.input[0]] == {"DequantizeLinear"}:
            raise self._fail(node, "has 8 bits made of 8 bits, of which runtimes make one step of their own; expected "
                                   "those there are to be used")
        self._integers[node.output[0]] = float(step.item()), zero

    def _dequantizelinear(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        source, output = node.input[0], node.output[0]
        step = self.stored[node.input[1]].astype(np.float64)
        for one in step.ravel():
            self._power(node, float(one))
        if source in self.stored:  # weights or a bias, for each output channel
            value = self.stored[source].astype(np.float64)
            if self.stored[node.input[2]].any() or (step.ndim and attributes.get("axis") != 0):
                raise self._fail(node, "has zero points, or steps along another axis than the first")
            if value.ndim > 1:
                # Sums of two products with uint8 are kept in 16 bits by CPUs without VNNI.
                largest = np.sort(np.abs(value.reshape(len(value), -1)), 1)[:, -2:].sum(1).max()
                if largest * 255 > np.iinfo(np.int16).max:
                    raise self._fail(node, f"has two weights of {largest:.0f} together in a row; CPUs without VNNI add "
                                           f"products up exactly to {np.iinfo(np.int16).max // 255}")
            self._constants[output] = value * step.reshape(-1, *[1] * (value.ndim - 1))
            self._steps[output] = step
            return
        width, zero = self._integers[source]
        given = self.stored[node.input[2]]
        if width != float(step.item()) or zero.dtype != given.dtype or zero.item() != given.item():
            raise self._fail(node, f"has a step of {float(step.item())} and a zero point of {given.item()}, "
                                   f"{given.dtype}, its integers {width} and {zero.item()}, {zero.dtype}")
        kind = np.iinfo(zero.dtype)
        most = max(int(zero.item()) - kind.min, kind.max - int(zero.item()))
        self.known[output] = Grid(-self._power(node, width), most * width)
        self._steps[output] = step

    def _conv(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        given = self._grid(node, node.input[0])
        weight, bias = (self._constants[name] for name in node.input[1:])
        if weight.shape[2:] != (1, 1) and (weight.shape[1] != 1 or attributes.get("group", 1) != len(weight)):
            raise self._fail(node, f"has kernels of {weight.shape[1:]}, which runtimes may transform (Winograd, FFT); "
                                   "expected a pointwise or a depthwise convolution")
        self._check_steps(node, bias)
        largest, fraction = 0.0, ZEROS
        for row, offset in zip(weight, bias, strict=True):
            of = max(given.fraction + fraction_of(row), fraction_of(np.array([offset])))
            sums = (float(np.abs(row).sum()) * given.bound + abs(float(offset))) * 2.0**of
            largest, fraction = max(largest, sums), max(fraction, of)
        self.sums[node.output[0]] = bits = math.log2(max(largest, 1.0))
        if bits > SIGNIFICAND:
            raise self._fail(node, f"may sum up to {bits:.2f} bits; {SIGNIFICAND} can be added up in any order")
        bound = float((np.abs(weight).reshape(len(weight), -1).sum(1) * given.bound + np.abs(bias)).max())
        self.known[node.output[0]] = Grid(fraction, bound, bits)

    def _check_steps(self, node: onnx.NodeProto, bias: NDArray[Any]) -> None:
        """Between 8 bits runtimes bring weights and biases to integers in steps that they find themselves."""
        source, name, offset = node.input
        inner = self._ends.get(node.output[0], set())
        if not (self._from_8_bits(node) and {"QuantizeLinear", "LeakyRelu"} & inner) and name not in self._steps:
            return
        if source not in self._steps or name not in self._steps:
            raise self._fail(node, "stands between 8 bits and 8 bits and is not in 8 bits itself, where runtimes make "
                                   "them of its weights; expected weights and inputs that DequantizeLinear makes")
        products = self._steps[source] * self._steps[name] * np.ones(len(bias))
        if offset in self._steps and not np.array_equal(self._steps[offset] * np.ones(len(bias)), products):
            raise self._fail(node, "has a bias in other steps than those of its products")
        integers = bias / products
        if not np.array_equal(integers, np.rint(integers)) or np.abs(integers).max() >= 2.0**31:
            raise self._fail(node, "has a bias that is no whole number of 32 bits in the steps of its products")


#: Decoded symbols in sixteenths: 16 times an int16, and a mean of int16. What is handed on is moved by sums of integers
#: that are rounded once (``duoview.motion_compensation``): the same on every machine, and on no grid.
STATE_INPUTS: Mapping[str, Grid | Rounded] = {
    "decoded": Grid(0, 17.0 * 32768), "symbols": Grid(0, 32768.0), "previous": Rounded(1e6)}


def proof(model: onnx.ModelProto) -> Proof:
    """Of a synthesis network. Raises ValueError where it is not exact, naming the tensor."""
    given = {value.name for value in model.graph.input}
    return Proof(model, {name: kind for name, kind in STATE_INPUTS.items() if name in given})


def proven(model: onnx.ModelProto) -> dict[str, float]:
    """By convolution of a synthesis network, the bits that its sums may need.

    Raises ValueError where it is not exact, naming the tensor.
    """
    return proof(model).sums
