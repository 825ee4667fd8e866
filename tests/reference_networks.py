"""A second way to run exact networks: numpy in float64, where their integers are exact; no backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


class ExactNetwork:
    """A graph of the few operators that exact networks are made of, in float64, where their integers are exact."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(str(path)).graph
        self.constants: dict[str, NDArray[Any]] = {
            one.name: numpy_helper.to_array(one).astype(np.float64) for one in self.graph.initializer}

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float64]:
        """The first output."""
        values = self.constants | {name: array.astype(np.float64) for name, array in inputs.items()}
        for node in self.graph.node:
            given = [values[name] for name in node.input]
            found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[0]] = self._run(node.op_type, given, found)
        return values[self.graph.output[0].name]

    @staticmethod
    def _run(kind: str, given: Sequence[NDArray[Any]], found: dict[str, Any]) -> NDArray[Any]:
        match kind:
            case "Conv":
                return convolve(given[0], given[1], given[2], found["group"])
            case "Round":
                return np.rint(given[0])
            case "Floor":
                return np.floor(given[0])
            case "Add":
                return np.asarray(given[0] + given[1])
            case "Mul":
                return np.asarray(given[0] * given[1])
            case "Clip":
                return np.clip(given[0], given[1], given[2])
            case "Concat":
                return np.concatenate(given, found["axis"])
            case "Cast" | "Identity":
                return given[0]
            case "Reshape":
                return given[0].reshape(given[1].astype(int))
            case "DepthToSpace":
                assert found["mode"] == b"CRD"
                n, c, h, w = given[0].shape
                b = found["blocksize"]
                parts = given[0].reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
                return parts.reshape(n, c // (b * b), h * b, w * b)
        raise ValueError(f"operator {kind}: expected one of those above, which are all that exact networks have")


def convolve(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], groups: int) -> NDArray[Any]:
    """Pointwise or depthwise convolution, (1, C, H, W), zeros around."""
    side = weight.shape[2]
    if groups == 1:
        assert weight.shape[2:] == (1, 1), f"a kernel of {weight.shape[2:]}: expected 1x1 where groups are 1"
        return np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[None, :, None, None]
    assert groups == x.shape[1] == len(weight) and weight.shape[1] == 1 and weight.shape[3] == side and side % 2, (
        f"{groups} groups, weights of {weight.shape}: expected depthwise convolution where groups are not 1")
    height, width = x.shape[2:]
    around = np.pad(x, ((0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    total = np.zeros_like(x) + bias[None, :, None, None]
    for row in range(side):
        for column in range(side):
            total += around[:, :, row:row + height, column:column + width] * weight[None, :, 0, row, column, None, None]
    return total
