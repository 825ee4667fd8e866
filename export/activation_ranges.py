"""Ranges of activations in 8 bits: what makes the least squared error, not the extremes that were seen.

A few values far out would make every step of a tensor larger. What a leaky rectifier follows is judged behind it: there
negative values count a tenth, so most of the range goes to positive ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from duoview.export.equalisation import Sample, observed

#: Ends of a range are tried at these shares of the extremes, the low and the high one independently.
SHARES = (1.0, 0.85, 0.7, 0.55, 0.45, 0.35, 0.25, 0.18, 0.12)
#: At most so many values of a tensor are looked at in one sample, drawn evenly.
VALUES = 4_000
STEPS = 255


def least_error_range(values: NDArray[np.float32], slope: float = 1.0) -> tuple[float, float]:
    """(low, high) of the 256 steps that make the least squared error of values (N,), 0 among them exactly.

    slope: of the rectifier behind, by which negative values are multiplied before they are compared.
    """
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    wanted = np.where(values < 0, slope * values, values)
    best, found = np.inf, (low, high)
    for below in SHARES if low < 0 else (1.0,):
        for above in SHARES if high > 0 else (1.0,):
            step = (above * high - below * low) / STEPS
            if step <= 0:
                continue
            zero = np.rint(-below * low / step)
            steps = np.clip(np.rint(values / step) + zero, 0, STEPS) - zero
            made = (steps * step).astype(np.float32)
            error = float(np.square(np.where(made < 0, slope * made, made) - wanted).mean())
            if error < best:
                best, found = error, (below * low, above * high)
    return found


def quantised_tensors(model: onnx.ModelProto, taken: set[str]) -> dict[str, float]:
    """Activations that get 8 bits when the convolutions of these names do, and the slope of what follows each."""
    slopes: dict[str, float] = {}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.name not in taken:
            continue
        for name in (node.input[0], node.output[0]):
            following = readers.get(name, [])
            leaky = len(following) == 1 and following[0].op_type in ("LeakyRelu", "Relu")
            slopes[name] = next((a.f for a in following[0].attribute if a.name == "alpha"), 0.0) if leaky else 1.0
    return slopes


def activation_ranges(model: onnx.ModelProto, taken: set[str], samples: Sequence[Sample]
                      ) -> dict[str, tuple[float, float]]:
    """Ranges of the activations around the convolutions of these names, by tensor; ValueError without samples."""
    if not samples:
        raise ValueError(f"{model.graph.name}: no samples to calibrate with")
    slopes = quantised_tensors(model, taken)
    generator = np.random.default_rng(1)
    some: dict[str, list[NDArray[np.float32]]] = {name: [] for name in slopes}
    for values in observed(model, list(slopes), samples):
        for name, value in values.items():
            some[name].append(generator.choice(value.ravel(), VALUES) if value.size > VALUES else value.ravel())
            # The extremes themselves stay in: what is cut off has to be seen to cost something.
            some[name].append(np.array([value.min(), value.max()], np.float32))
    return {name: least_error_range(np.concatenate(parts), slopes[name]) for name, parts in some.items()}
