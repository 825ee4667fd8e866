"""Networks that make what is handed on from frame to frame, in numbers that every machine computes alike.

A float network sums in an order of its backend's, and what differs in the last bit gathers from frame to frame. Here
every activation is a whole multiple of a power of two, kept within a bound, and so is every weight: no sum needs more
than the 24 bits of a float32, so that its order does not matter (``export.proof`` proves it of the file). Convolutions
that a plan takes are in 8 bits, with steps that are powers of two; the others compute in float32 with activations of
some 11 bits. Integer networks for codecs: Balle et al., ICLR 2019; steps of powers of two: Jain et al., MLSys 2020.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from duoview.export.activation_ranges import VALUES
from duoview.export.equalisation import Sample, equalised, observed
from duoview.export.precision import Plan, chosen, folded
from duoview.export.step_fitting import Seen, fitted, step_and_zero
from duoview.motion_compensation import STATE_BITS, STATE_LIMIT

#: Bits of a float32's whole numbers.
EXACT_BITS = 24
#: Metadata keys, for ``export.tuning``. By name of a weight or bias of a convolution in float32: the fraction bits of
#: its rows' grids. By name of any weight or bias: the power of two that the fitted network is scaled by there.
GRIDS_KEY, UNITS_KEY = "grids", "units"
#: The slope of leaky rectifiers, near 0.1: seven fraction bits, so that products are exact.
SLOPE = 13 / 128
#: Bits of activations before a convolution in float32, and before a table's row: with its 11 they make 24.
ACTIVATION_BITS, ROW_BITS, TABLE_BITS = 11, 13, 11
#: Bits of what residual blocks add to, where a table's row begins it: depthwise convolutions that read it have room.
STREAM_BITS = 13
#: What is seen in calibration may be exceeded by so much before it is cut off.
HEADROOM = 1.25
#: Weights of convolutions in float32 have at most so many bits beside the sign; sums keep so many bits free, since
#: tuning moves weights, and rows that outgrow them are shrunk (``export.tuning``).
WEIGHT_BITS, SPARE_BITS = 12, 0.25
#: Factors of channels are so many to an octave: steps are powers of two as it is, and need not be so by channel.
PARTS = 8
#: A row of weights counts as if it had this share of the largest one's at least.
LEAST_ROW = 2.0**-16
#: Largest magnitude of a weight in 8 bits. onnxruntime makes signed activations unsigned, so that pairs of products of
#: larger weights would saturate in CPUs without VNNI whatever the file says: ``export.precision.quantised``.
LARGEST = 64
#: Samples with which it is looked for whose 8 bits make most of the error.
SPARING_SAMPLES = 24
#: Most bits of a bias of sums of 8 bits.
BIAS_BITS = 20
#: Fraction bits of SLOPE.
SLOPE_BITS = 7


@dataclass(frozen=True)
class Format:
    """Whole multiples of 2 ** -fraction, of a magnitude of at most bound."""

    fraction: int
    bound: float

    @property
    def bits(self) -> float:
        """Of the whole numbers, beside the sign."""
        return math.log2(max(self.bound, 1e-30)) + self.fraction


#: What the synthesis networks are given: decoded y in sixteenths, symbols, and z_m, which was moved by sums of integers
#: and is on no grid (``duoview.motion_compensation``).
INPUTS: dict[str, Format | None] = {"decoded": Format(0, 17.0 * 32768), "symbols": Format(0, 32768.0), "previous": None}


@dataclass(frozen=True)
class _Tensor:
    """Stands for a tensor of the float network, times 2 ** unit; form: None for what is exact and on no grid.

    units: by channel, where tensors of other units were joined; for convolutions in float32 alone.
    """

    name: str
    unit: int
    form: Format | None
    units: tuple[int, ...] = ()


def on_grid(values: NDArray[Any], fractions: NDArray[Any]) -> NDArray[np.float32]:
    """Rows, brought to whole multiples of 2 ** -fraction of each."""
    widths = 2.0 ** -fractions.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(np.rint(values / widths) * widths, np.float32)


class _Builder:
    """Walks a float network and writes the exact one. What is put between tensors has names of its own.

    A tensor stands for that of the float network times 2 ** its unit, so that where it is rounded that is to whole
    numbers: the factor is in the weights before and behind, and costs nothing.
    """

    def __init__(self, model: onnx.ModelProto, seen: Mapping[str, Seen], eight: Collection[str], signed: bool) -> None:
        self.model, self.seen, self.eight, self.signed = model, seen, eight, signed
        self.constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
        self.made: dict[str, NDArray[Any]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.grids: dict[str, list[int]] = {}
        self.factors: dict[str, int | list[int]] = {}
        #: By tensor of the float network: the one that stands for it.
        self.now: dict[str, _Tensor] = {}
        self._quantised: dict[str, _Tensor] = {}
        self._limited: dict[tuple[str, float], _Tensor] = {}
        #: Rows of tables, by name, and the tables.
        self.tables = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Gather"}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.channels = {value.name: value.type.tensor_type.shape.dim[1].dim_value
                         for value in (*inferred.value_info, *inferred.input)
                         if len(value.type.tensor_type.shape.dim) == 4}

    def largest(self, tensor: str) -> float:
        """Magnitude to be ready for."""
        return HEADROOM * max(float(np.abs(self.seen[tensor].values).max()), 1e-6)

    def fraction(self, tensor: str, bits: float) -> int:
        """Fraction bits with which it has so many bits."""
        return math.floor(bits - math.log2(self.largest(tensor)))

    def number(self, value: float) -> str:
        name = f"exact.number.{len(self.made)}"
        self.made[name] = np.array(value, np.float32)
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def limited(self, tensor: str, bits: float, *, fraction: int | None = None, whole: float | None = None) -> _Tensor:
        """A tensor in so many bits; as it is where it has no more.

        fraction, whole: of the real values, and the largest whole number, where they are not to be found by what was
        seen.
        """
        now = self.now[tensor]
        if (now.form is not None and now.form.bits <= bits and fraction is None) or (tensor, bits) in self._limited:
            return self._limited.get((tensor, bits), now)
        stem, wanted = f"{tensor}.limited{len(self._limited)}", fraction
        if wanted is None:
            wanted = self.fraction(tensor, bits)
        if fraction is None and now.form is not None and now.form.fraction + now.unit <= wanted:
            most = (2.0**math.floor(bits) - 1) * 2.0**-now.form.fraction
            made = _Tensor(self.emit("Clip", [now.name, self.number(-most), self.number(most)], stem), now.unit,
                           Format(now.form.fraction, most))
        else:
            most = whole if whole is not None else math.floor(self.largest(tensor) * 2.0**wanted)
            name, bound = now.name, math.inf if now.form is None else now.form.bound * 2.0 ** (wanted - now.unit)
            if wanted != now.unit:
                name = self.emit("Mul", [name, self.number(2.0 ** (wanted - now.unit))], f"{stem}.whole")
            name = self.emit("Floor", [self.emit("Add", [name, self.number(0.5)], f"{stem}.half")], f"{stem}.floor")
            if bound > most:
                name, bound = self.emit("Clip", [name, self.number(-most), self.number(most)], stem), most
            made = _Tensor(name, wanted, Format(0, bound))
        self._limited[tensor, bits] = made
        return made

    def quantised(self, tensor: str, name: str, unit: int, output: str) -> _Tensor:
        """``name``, which stands for a tensor of the float network, in 8 bits and back."""
        if name in self._quantised:
            return self._quantised[name]
        following = self.readers.get(tensor, [])
        leaky = len(following) == 1 and following[0].op_type == "LeakyRelu"
        real, zero, _ = step_and_zero(self.seen[tensor], SLOPE if leaky else 1.0, signed=self.signed)
        step = real * 2.0**unit
        self.made[f"{output}.step"] = np.array(step, np.float32)
        self.made[f"{output}.zero"] = np.array(0, np.int8) if self.signed else np.array(zero, np.uint8)
        self.emit("QuantizeLinear", [name, f"{output}.step", f"{output}.zero"], f"{output}.steps")
        self.emit("DequantizeLinear", [f"{output}.steps", f"{output}.step", f"{output}.zero"], output)
        made = _Tensor(output, unit, Format(-round(math.log2(step)), step * max(zero, 255 - zero)))
        # What reads them in 8 bits again reads these: of 8 bits made of 8 bits runtimes make one step of their own.
        self._quantised[name] = self._quantised[output] = made
        return made

    def _wanted_unit(self, tensor: str) -> int:
        """The unit that what reads an output of a convolution in 8 bits is best given."""
        for node in self.readers.get(tensor, []):
            if node.op_type == "Add":
                others = [name for name in node.input if name != tensor and name in self.now]
                return self.now[others[0]].unit if others else 0
            if node.op_type == "Mul" and node.input[1] in self.tables:
                return self.fraction(node.output[0], STREAM_BITS)
            if node.op_type == "DepthToSpace":
                return self._wanted_unit(node.output[0])
            if node.op_type == "Concat" and "previous" in node.input:
                return STATE_BITS
        return 0

    def convolution_8(self, node: onnx.NodeProto) -> None:
        source, name, offset = node.input
        weight, bias = self.constants[name], self.constants[offset]
        now = self.now[source]
        given = self.quantised(source, now.name, now.unit, f"{source}.eight")
        assert given.form is not None
        unit = self._wanted_unit(node.output[0])
        largest = np.abs(weight).reshape(len(weight), -1).max(1)
        wide = 2.0 ** np.ceil(np.log2(np.maximum(largest, 1e-12) / LARGEST))

        def error(steps: NDArray[Any]) -> NDArray[Any]:
            along = steps.reshape(-1, 1, 1, 1)
            made = np.clip(np.rint(weight / along), -LARGEST, LARGEST) * along
            return np.asarray(np.square(made - weight).reshape(len(weight), -1).sum(1))

        steps = np.where(error(wide / 2) < error(wide), wide / 2, wide)
        # A channel of hardly any weight must not have steps in which its bias is a number of too many bits.
        floor = np.maximum(np.abs(bias), 1e-12) * 2.0 ** (given.form.fraction + given.unit - BIAS_BITS)
        steps = np.maximum(steps, 2.0 ** np.ceil(np.log2(floor)))
        self.made[name] = np.clip(np.rint(weight / steps.reshape(-1, 1, 1, 1)), -LARGEST, LARGEST).astype(np.int8)
        steps = steps * 2.0 ** (unit - given.unit)
        self._stored(name, steps, np.int8)
        widths = steps * 2.0**-given.form.fraction
        integers = np.rint(bias * 2.0**unit / widths)
        if self.signed:
            self.made[offset] = (integers * widths).astype(np.float32)
            added = offset
        else:
            self.made[offset] = integers.astype(np.int32)
            added = self._stored(offset, widths, np.int32)
        self.factors |= {f"{name}.value": unit - given.unit, added: unit}
        output = node.output[0]
        self._convolve(node, [given.name, f"{name}.value", added], f"{output}.sum")
        self.now[output] = self.quantised(output, f"{output}.sum", unit, output)

    def _stored(self, constant: str, steps: NDArray[Any], kind: type[np.signedinteger[Any]]) -> str:
        """What integers of a constant stand for, with a step for each output channel."""
        self.made[f"{constant}.step"] = steps.astype(np.float32)
        self.made[f"{constant}.zero"] = np.zeros(len(steps), kind)
        return self.emit("DequantizeLinear", [constant, f"{constant}.step", f"{constant}.zero"], f"{constant}.value",
                         axis=0)

    def _convolve(self, node: onnx.NodeProto, inputs: Sequence[str], output: str) -> None:
        made = helper.make_node("Conv", list(inputs), [output])
        made.attribute.extend(node.attribute)
        self.nodes.append(made)

    def _to_8_bits(self, output: str) -> bool:
        """Whether nothing but convolutions in 8 bits reads it."""
        def handed_on(reader: onnx.NodeProto) -> bool:
            return reader.op_type == "DepthToSpace" and self._to_8_bits(reader.output[0])

        return all(reader.name in self.eight or handed_on(reader) for reader in self.readers.get(output, []))

    def _end(self, node: onnx.NodeProto) -> tuple[int, float] | None:
        """Fraction bits and largest whole number that float32 sums of a convolution are brought to; None: neither."""
        output = node.output[0]
        following = self.readers.get(output, [])
        if all(reader.name in self.eight or reader.op_type == "DepthToSpace" for reader in following):
            return None
        if any(reader.op_type == "Mul" and reader.input[1] not in self.tables for reader in following):
            return None
        bits = ACTIVATION_BITS
        if any(reader.op_type == "Mul" for reader in following):
            bits = ROW_BITS
        fraction = self.fraction(output, bits)
        for reader in following:
            others = [name for name in reader.input if name != output and name in self.now]
            if reader.op_type == "Add" and others:
                fraction = self.now[others[0]].unit
        return fraction, float(math.floor(self.largest(output) * 2.0**fraction))

    def convolution(self, node: onnx.NodeProto) -> None:
        source, name, offset = node.input
        output = node.output[0]
        depthwise = self.constants[name].shape[1] == 1
        given = self.limited(source, STREAM_BITS + 1 if depthwise else ACTIVATION_BITS)
        assert given.form is not None
        end = self._end(node)
        unit = end[0] if end is not None else 0
        of = np.array(given.units or [given.unit])
        weight = self.constants[name] * 2.0 ** (unit - of.reshape(1, -1, 1, 1))
        bias = self.constants[offset] * 2.0**unit
        if end is not None:
            bias = bias + 0.5
        rows = np.abs(weight).reshape(len(weight), -1)
        sums, largest = rows.sum(1) * given.form.bound + np.abs(bias), rows.max(1)
        most = float(sums.max())
        # Each row is on a grid of its own: the row with the largest sums would leave the others fewer bits than they
        # can have. One of hardly any weight is not to be on a grid finer than a float32 has.
        sums, largest = (np.maximum(found, max(found.max() * LEAST_ROW, 1e-30)) for found in (sums, largest))
        fractions = np.minimum(np.floor(EXACT_BITS - SPARE_BITS - np.log2(sums)) - given.form.fraction,
                               np.floor(WEIGHT_BITS - np.log2(largest))).astype(int)
        if end is None and not self._to_8_bits(output):  # the same is added to all sums before they are rounded
            fractions[:] = fractions.min()
        wholes = np.maximum(fractions + given.form.fraction, 1)
        self.made[name] = on_grid(weight, fractions)
        self.made[offset] = on_grid(bias, wholes)
        self.grids |= {name: fractions.tolist(), offset: wholes.tolist()}
        self.factors |= {name: (unit - of).tolist() if given.units else unit - given.unit, offset: unit}
        if end is None:
            self._convolve(node, [given.name, name, offset], output)
            self.now[output] = _Tensor(output, unit, Format(int(wholes.max()), most))
            return
        # Cut off first: runtimes do that within the convolution.
        self._convolve(node, [given.name, name, offset], f"{output}.sum")
        self.emit("Clip", [f"{output}.sum", self.number(-end[1]), self.number(end[1] + 0.5)], f"{output}.clip")
        self.emit("Floor", [f"{output}.clip"], output)
        self.now[output] = _Tensor(output, unit, Format(0, end[1]))

    def copied(self, node: onnx.NodeProto, inputs: Sequence[str]) -> None:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        del made.input[:]
        made.input.extend(inputs)
        for name in inputs:
            if name in self.constants:
                self.made.setdefault(name, self.constants[name])
        self.nodes.append(made)

    def product(self, node: onnx.NodeProto) -> None:
        (x, factor), output = node.input, node.output[0]
        now = self.now[x]
        if factor in self.constants:
            by = float(self.constants[factor].item())
            shift = math.log2(by)
            if shift != round(shift):
                raise ValueError(f"{self.model.graph.name}: {output} is a product with {by}; expected a power of two")
            if all(reader.op_type == "Mul" and reader.input[1] in self.tables for reader in self.readers[output]):
                # Nothing is computed: the same numbers stand for it in another unit, and rows take that up.
                self.now[output] = replace(now, unit=now.unit - round(shift))
                return
            form = None if now.form is None else Format(now.form.fraction - round(shift), now.form.bound * by)
            self.copied(node, [now.name, factor])
            self.now[output] = _Tensor(output, now.unit, form)
        elif factor in self.tables:
            now = self.limited(x, ROW_BITS)
            added = any(reader.op_type == "Add" for reader in self.readers[output])
            unit = self.fraction(output, STREAM_BITS if added else ACTIVATION_BITS)
            self._scale_table(factor, unit - now.unit)
            self.copied(node, [now.name, factor])
            self.now[output] = _Tensor(output, unit, None)
            if added:
                self.now[output] = self.limited(output, STREAM_BITS)
        else:
            other = self.now[factor]
            assert now.form is not None and other.form is not None and other.unit == 0
            self.copied(node, [now.name, other.name])
            self.now[output] = _Tensor(output, now.unit, Format(now.form.fraction + other.form.fraction,
                                                                now.form.bound * other.form.bound))

    def scaled(self, now: _Tensor, unit: int) -> _Tensor:
        """The same in another unit."""
        if now.unit == unit:
            return now
        shift, name = unit - now.unit, f"{now.name}.unit{unit}"
        self.emit("Mul", [now.name, self.number(2.0**shift)], name)
        form = None if now.form is None else Format(now.form.fraction - shift, now.form.bound * 2.0**shift)
        return _Tensor(name, unit, form)

    def _scale_table(self, row: str, shift: int) -> None:
        """What a row is multiplied by is to come out times 2 ** shift. Raises ValueError where others read it too."""
        table = self.tables[row]
        if not shift:
            return
        if len(self.readers[row]) != 1 or len(self.readers[table]) != 1:
            raise ValueError(f"{self.model.graph.name}: {table} is read more than once; expected a table for each "
                             "product")
        self.made[table] = np.asarray(self.made[table] * 2.0**shift, np.float32)

    def _table(self, node: onnx.NodeProto) -> None:
        table, output = self.constants[node.input[0]], node.output[0]
        unit = 2.0 ** (np.floor(np.log2(np.abs(table))) - TABLE_BITS + 1)
        self.constants[node.input[0]] = (np.rint(table / unit) * unit).astype(np.float32)
        self.copied(node, node.input)
        self.now[output] = _Tensor(output, 0, None)

    def _state(self) -> _Tensor:
        """What was handed on, on its grid."""
        return self.limited("previous", 0, fraction=STATE_BITS, whole=STATE_LIMIT << STATE_BITS)

    def _in_float(self, output: str) -> bool:
        """Whether pointwise convolutions in float32 read it, joined with others or not, and nothing else does."""
        return all((reader.op_type == "Conv" and reader.name not in self.eight
                    and self.constants[reader.input[1]].shape[1] > 1)
                   or (reader.op_type == "Concat" and self._in_float(reader.output[0]))
                   for reader in self.readers.get(output, []))

    def _joined(self, node: onnx.NodeProto) -> None:
        """Tensors side by side, before a convolution in float32 each of them on a grid."""
        output = node.output[0]
        parts = [self.now[name] for name in node.input]
        if not all(reader.name in self.eight for reader in self.readers[output]):
            parts = [self._state() if name == "previous" else self.limited(name, ACTIVATION_BITS)
                     for name in node.input]
            forms = [part.form for part in parts if part.form is not None]
            if self._in_float(output) and len(forms) == len(parts) and all(form.fraction <= 0 for form in forms):
                # Convolutions in float32 have the units of channels in their weights.
                units = [unit for name, part in zip(node.input, parts, strict=True)
                         for unit in part.units or [part.unit] * self.channels[name]]
                self.copied(node, [part.name for part in parts])
                self.now[output] = _Tensor(output, parts[0].unit, Format(0, max(form.bound for form in forms)),
                                           tuple(units))
                return
        unit = max(part.unit for part in parts)
        parts = [self.scaled(part, unit) for part in parts]
        forms = [part.form for part in parts if part.form is not None]
        self.copied(node, [part.name for part in parts])
        self.now[output] = _Tensor(output, unit, None if len(forms) < len(parts) else
                                   Format(max(f.fraction for f in forms), max(f.bound for f in forms)))

    def _sum(self, node: onnx.NodeProto) -> None:
        first, second = (self.now[name] for name in node.input)
        second, output = self.scaled(second, first.unit), node.output[0]
        self.copied(node, [first.name, second.name])
        form = None
        if first.form is not None and second.form is not None:
            form = Format(max(first.form.fraction, second.form.fraction), first.form.bound + second.form.bound)
        self.now[output] = _Tensor(output, first.unit, form)

    def step(self, node: onnx.NodeProto) -> None:
        """One operator of the float network. Raises ValueError for one without an exact form."""
        kind, output = node.op_type, node.output[0]
        now = self.now.get(node.input[0])
        form = now.form if now is not None else None
        if kind == "Conv":
            (self.convolution_8 if node.name in self.eight else self.convolution)(node)
        elif kind == "Gather":
            self._table(node)
        elif kind == "Mul":
            self.product(node)
        elif kind == "Concat":
            self._joined(node)
        elif kind == "Add" and node.input[1] not in self.constants:
            self._sum(node)
        elif now is None:
            raise ValueError(f"{self.model.graph.name}: {output} is made by {kind} of {node.input[0]}, which has no "
                             "exact form; expected a synthesis network of this codec")
        elif kind == "LeakyRelu":
            self.emit(kind, [now.name], output, alpha=SLOPE)
            self.now[output] = _Tensor(output, now.unit, None if form is None else
                                       Format(form.fraction + SLOPE_BITS, form.bound))
        elif kind == "SpaceToDepth" and node.input[0] == "previous" and self._in_float(output):
            now = self._state()
            self.copied(node, [now.name])
            self.now[output] = replace(now, name=output)
        elif kind in ("SpaceToDepth", "DepthToSpace", "Identity", "Abs", "ReduceMax", "MaxPool", "Resize"):
            self.copied(node, [now.name, *node.input[1:]])
            self.now[output] = _Tensor(output, now.unit, form)
        elif kind == "Clip":
            self.copied(node, [now.name, *node.input[1:]])
            most = max(abs(float(self.constants[name].item())) for name in node.input[1:])
            self.now[output] = _Tensor(output, now.unit, None if form is None else
                                       Format(form.fraction, min(form.bound, most)))
        elif kind in ("Add", "Floor"):
            self.copied(node, [now.name, *node.input[1:]])
            self.now[output] = _Tensor(output, now.unit, None if form is None else
                                       Format(max(form.fraction, 1) if kind == "Add" else 0, form.bound + 1))
        else:
            raise ValueError(f"{self.model.graph.name}: {kind} has no exact form; expected a synthesis network of "
                             "this codec")

    def network(self) -> onnx.ModelProto:
        graph = self.model.graph
        for value in graph.input:
            if value.name in INPUTS:
                self.now[value.name] = _Tensor(value.name, 0, INPUTS[value.name])
        for node in graph.node:
            self.step(node)
        constants = [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in self.made.items()]
        made = helper.make_model(helper.make_graph(self.nodes, graph.name, list(graph.input), list(graph.output),
                                                   constants),
                                 opset_imports=list(self.model.opset_import), producer_name="duoview")
        made.ir_version = self.model.ir_version
        helper.set_model_props(made, {GRIDS_KEY: json.dumps(self.grids, sort_keys=True),
                                      UNITS_KEY: json.dumps(self.factors, sort_keys=True)})
        onnx.checker.check_model(made, full_check=True)
        return made


def _seen(model: onnx.ModelProto, samples: Sequence[Sample]) -> dict[str, Seen]:
    """Some values of every float activation, its extremes among them."""
    shown = {value.name for value in model.graph.output}
    tensors = [name for node in model.graph.node for name in node.output if name not in shown]
    generator = np.random.default_rng(1)
    some: dict[str, list[NDArray[np.float32]]] = {}
    for sample, values in zip(samples, observed(model, tensors, samples), strict=True):
        given = {name: value for name, value in sample.items() if value.dtype == np.float32}
        for name, value in {**given, **values}.items():
            flat = value.ravel()
            drawn = generator.choice(flat, VALUES) if flat.size > VALUES else flat
            some.setdefault(name, []).append(np.append(drawn, np.array([flat.min(), flat.max()], np.float32)))
    return {name: Seen.of(parts) for name, parts in some.items()}


def _spared(model: onnx.ModelProto, seen: Mapping[str, Seen], eight: frozenset[str], samples: Sequence[Sample],
            signed: bool) -> frozenset[str]:
    """Without the convolution that, in float32, takes most of the error away: in the geometric mean over samples."""
    some = samples[::max(1, len(samples) // SPARING_SAMPLES)]
    outputs = [output.name for output in model.graph.output]
    wanted = list(observed(model, outputs, some))

    def error(names: frozenset[str]) -> float:
        made = observed(_Builder(model, seen, names, signed).network(), outputs, some)
        errors = [sum(float(np.square(one[name].astype(np.float32) - other[name]).mean()) for name in outputs)
                  for one, other in zip(made, wanted, strict=True)]
        return float(np.log(np.maximum(errors, 1e-12)).mean())

    return min((eight - {name} for name in sorted(eight)), key=error)


def exact(model: onnx.ModelProto, samples: Sequence[Sample], plan: Plan | None, *, signed: bool = False,
          spared: int = 0) -> onnx.ModelProto:
    """A synthesis network, key or inter, in exact numbers.

    Args:
        model: as it is in a profile.
        samples: its inputs when real pictures are coded, to find ranges with.
        plan: which convolutions are in 8 bits; None for none.
        signed: activations int8 around 0 and biases in float32, the only kind that TensorRT takes. Weights have 7 bits
            all the same.
        spared: so many of the plan's convolutions stay in float32, those whose 8 bits make most of the error; all but
            one at most.

    Raises ValueError without samples, and for a network with operators that have no exact form.
    """
    if not samples:
        raise ValueError(f"{model.graph.name}: no samples to calibrate with")
    named = equalised(folded(model), samples, parts=PARTS)
    for number, node in enumerate(named.graph.node):
        node.name = f"{node.op_type.lower()}.{number}"
    eight = frozenset(chosen(named, plan)) if plan else frozenset[str]()
    seen = _seen(named, samples)
    if eight:
        named = fitted(named, seen, eight, SLOPE, signed=signed)
        seen = _seen(named, samples)
        for _ in range(min(spared, len(eight) - 1)):
            eight = _spared(named, seen, eight, samples, signed)
    return _Builder(named, seen, eight, signed).network()
