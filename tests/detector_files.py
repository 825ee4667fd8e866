"""Tiny detectors for tests: ONNX files that answer every picture with outputs written into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
          np.dtype(np.uint8): TensorProto.UINT8}


def constant_detector(path: Path, outputs: Mapping[str, NDArray[Any]], *, size: tuple[int | str, int | str] = (64, 64),
                      batch: int | str = 1, input_name: str = "images", layout: str = "nchw",
                      dtype: type[np.generic] = np.float32, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a network whose outputs are the same arrays for every picture, whatever it shows.

    The arrays are those of one picture, without the batch; they come once for every picture of a batch. size: width
    and height, a name where it is open.
    """
    width, height = size
    shape: Sequence[int | str] = (batch, 3, height, width) if layout == "nchw" else (batch, height, width, 3)
    source = helper.make_tensor_value_info(input_name, _TYPES[np.dtype(dtype)], shape)
    nodes, tensors, sinks = [], [], []
    # A zero for every picture of the batch, so that an open batch stays open: the outputs are added to it.
    nodes.append(helper.make_node("Cast", [input_name], ["pixels"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceMax", ["pixels"], ["brightest"], axes=[1, 2, 3], keepdims=0))
    nodes.append(helper.make_node("Mul", ["brightest", "nothing"], ["nought"]))
    tensors.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    for name, array in outputs.items():
        tensors.append(numpy_helper.from_array(array.astype(np.float32)[None], f"{name}_value"))
        tensors.append(numpy_helper.from_array(np.array([-1] + [1] * array.ndim, np.int64), f"{name}_shape"))
        nodes.append(helper.make_node("Reshape", ["nought", f"{name}_shape"], [f"{name}_nought"]))
        nodes.append(helper.make_node("Add", [f"{name}_nought", f"{name}_value"], [name]))
        sinks.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *array.shape]))
    return write(path, nodes, [source], sinks, tensors, metadata)


def looking_detector(path: Path, size: int = 32) -> Path:
    """Write a YOLOv8 network (strides 8 to 32) that sees what it is shown: a box of class 0 over the whole input whose
    score is the mean red, and one of class 1 with the mean blue, of RGB samples from 0 to 1."""
    points = sum((size // stride) ** 2 for stride in (8, 16, 32))
    rest = np.zeros((1, 6, points), np.float32)
    rest[0, :4] = size / 2
    rest[0, 2:4] = size
    pick = np.zeros((1, 6, 3, 1), np.float32)
    pick[0, 4, 0], pick[0, 5, 2] = 1, 1  # red and blue of channels red, green, blue
    first = np.zeros((1, 1, points), np.float32)
    first[0, 0, 0] = 1
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["colours"]),
        helper.make_node("MatMul", ["pick", "colours"], ["scores"]),
        helper.make_node("Mul", ["scores", "first"], ["placed"]),
        helper.make_node("Add", ["placed", "rest"], ["output0"]),
    ]
    tensors = [numpy_helper.from_array(np.array([-1, 3, 1], np.int64), "column"),
               numpy_helper.from_array(pick[0, :, :, 0], "pick"), numpy_helper.from_array(first, "first"),
               numpy_helper.from_array(rest, "rest")]
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])
    sink = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 6, points])
    return write(path, nodes, [source], [sink], tensors, {"names": "{0: 'red', 1: 'blue'}", "task": "detect"})


def write(path: Path, nodes: Sequence[Any], sources: Sequence[Any], sinks: Sequence[Any], tensors: Sequence[Any],
          metadata: Mapping[str, str] | None = None) -> Path:
    """Check a graph and write it."""
    graph = helper.make_graph(nodes, "detector", sources, sinks, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def cell_detector(path: Path, size: int = 64) -> Path:
    """Write a YOLOv8 network that sees objects of 8x8 pixels: in each cell of its input one of class 0 whose score is
    the cell's mean red, and one of class 1 with its mean blue."""
    cells, rest = (size // 8) ** 2, (size // 16) ** 2 + (size // 32) ** 2
    pick = np.zeros((2, 3, 1, 1), np.float32)
    pick[0, 0], pick[1, 2] = 1, 1  # red and blue of channels red, green, blue
    boxes = np.full((1, 4, cells + rest), 8, np.float32)
    centres = np.arange(size // 8, dtype=np.float32) * 8 + 4
    boxes[0, 0, :cells], boxes[0, 1, :cells] = np.tile(centres, size // 8), np.repeat(centres, size // 8)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["means", "pick"], ["colours"]),
        helper.make_node("Reshape", ["colours", "row"], ["seen"]),
        helper.make_node("Mul", ["seen", "nothing"], ["nought"]),
        helper.make_node("ReduceSum", ["nought", "axes"], ["column"], keepdims=1),
        helper.make_node("Add", ["column", "unseen"], ["others"]),
        helper.make_node("Add", ["column", "boxes"], ["places"]),
        helper.make_node("Concat", ["seen", "others"], ["scores"], axis=2),
        helper.make_node("Concat", ["places", "scores"], ["output0"], axis=1),
    ]
    tensors = [numpy_helper.from_array(pick, "pick"), numpy_helper.from_array(boxes, "boxes"),
               numpy_helper.from_array(np.array([-1, 2, cells], np.int64), "row"),
               numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
               numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
               numpy_helper.from_array(np.zeros((1, 2, rest), np.float32), "unseen")]
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])
    sink = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 6, cells + rest])
    return write(path, nodes, [source], [sink], tensors, {"names": "{0: 'red', 1: 'blue'}", "task": "detect"})
