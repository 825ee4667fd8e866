"""Scales of a network's tensors with which steps that are powers of two fit them best; what it computes stays the same.

Steps of 8 bits that are powers of two are up to 1.4 times too wide or too narrow. What lies between convolutions may be
multiplied by any number if the weights that read it are divided by it (``export.equalisation``), so that the range of a
tensor becomes one that such a step divides well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from duoview.export.equalisation import pairs, streams

#: Factors that are tried: all there are between two powers of two, an eighth of an octave apart.
FACTORS = tuple(2.0 ** (part / 8) for part in range(-4, 4))
#: A sample of less than this share of the median's mean square counts as if it had so much.
LEAST_POWER = 0.05
#: Values of a tensor that scales are looked for with.
MOST_VALUES = 200_000


def _power(wanted: float) -> float:
    return float(2.0 ** math.ceil(math.log2(wanted)))


@dataclass(frozen=True)
class Seen:
    """Some values of a tensor, (N,), and how much the squared error of each counts, (N,), 1 in the mean.

    By one over the root of each sample's mean square: counted as they are, what a night's noise needs makes steps too
    wide for all else; counted in shares of it, noise is cut off.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32]

    @staticmethod
    def of(samples: Sequence[NDArray[np.float32]]) -> Seen:
        """Of values of each sample, (N,)."""
        powers = np.array([np.square(one).mean() for one in samples])
        shares = np.maximum(powers, LEAST_POWER * max(float(np.median(powers)), 1e-30)) ** -0.5
        weights = np.repeat(shares.astype(np.float32), [one.size for one in samples])
        return Seen(np.concatenate(samples), weights / weights.mean())

    def scaled(self, factor: float) -> Seen:
        """The same values, times a factor; some MOST_VALUES of them where there are more."""
        every = max(1, self.values.size // MOST_VALUES)
        return Seen(self.values[::every] * np.float32(factor), self.weights[::every])


def step_and_zero(seen: Seen, slope: float = 1.0, *, signed: bool = False) -> tuple[float, int, float]:
    """Step, a power of two, and zero point, 0 to 255, of the least squared error, and that error.

    slope: of the rectifier behind, by which negative values are multiplied before they are compared. signed: around 0,
    a zero point of 128 here.
    """
    values = seen.values
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    wanted = np.where(values < 0, slope * values, values)
    best, found = math.inf, (1.0, 0)
    widest = _power(max(2 * max(high, -low) if signed else high - low, 1e-20) / 255)
    for step in (widest, widest / 2, widest / 4, widest / 8):
        most = min(255, math.ceil(-low / step))
        zeros = {*(round(most * share) for share in np.linspace(0, 1, 9)), max(0, 255 - math.ceil(high / step))}
        for zero in (128,) if signed else sorted(zeros):
            if zero > 255:
                continue
            made = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
            error = float((seen.weights * np.square(np.where(made < 0, slope * made, made) - wanted)).mean())
            if error < best:
                best, found = error, (step, int(zero))
    return *found, best


@dataclass(frozen=True)
class _Scalable:
    """Convolutions whose outputs, and whose inputs, have one scale; tensors in 8 bits between, each with its slope."""

    writers: tuple[onnx.NodeProto, ...]
    readers: tuple[onnx.NodeProto, ...]
    tensors: dict[str, float]


def _between(model: onnx.ModelProto, eight: Collection[str], slope: float) -> list[_Scalable]:
    found = []
    for pair in pairs(model):
        rectified = pair.tensor != pair.first.output[0]
        tensors = {pair.first.output[0]: slope if rectified else 1.0} if pair.first.name in eight else {}
        if pair.second.name in eight:
            tensors.setdefault(pair.tensor, 1.0)
        found.append(_Scalable((pair.first,), (pair.second,), tensors))
    for stream in streams(model):
        tensors = {node.output[0]: 1.0 for node in stream.writers if node.name in eight}
        tensors |= {node.input[0]: 1.0 for node in stream.readers if node.name in eight}
        found.append(_Scalable(stream.writers, stream.readers, tensors))
    return [one for one in found if one.tensors]


def fitted(model: onnx.ModelProto, seen: Mapping[str, Seen], eight: Collection[str], slope: float, *,
           signed: bool = False) -> onnx.ModelProto:
    """A copy whose tensors have scales that powers of two fit.

    model: with float32 constants, and nodes with names. seen: values of its tensors. eight: names of the
    convolutions that will be in 8 bits. slope: of its rectifiers.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {constant.name: constant for constant in copy.graph.initializer}

    def change(name: str, factor: float) -> None:
        constants[name].CopyFrom(numpy_helper.from_array(
            (numpy_helper.to_array(constants[name]) * factor).astype(np.float32), name))

    for one in _between(copy, eight, slope):

        def error(factor: float, one: _Scalable = one) -> float:
            """In shares of what the tensors hold."""
            found = 0.0
            for name, by in one.tensors.items():
                given = seen[name].scaled(factor)
                power = max(float((given.weights * np.square(given.values)).mean()), 1e-30)
                found += step_and_zero(given, by, signed=signed)[2] / power
            return found

        factor = min(FACTORS, key=error)
        for node in one.writers:
            for name in node.input[1:]:
                change(name, factor)
        for node in one.readers:
            change(node.input[1], 1 / factor)
    return copy
