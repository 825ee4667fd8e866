"""Foreign ONNX networks under torch, and what they see as a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from duoview.detectors import FastestDet, YoloV8, YoloX
from duoview.models.feature_loss import DetectorEye
from duoview.models.foreign_network import ForeignNetwork


class Draft:
    """Collects the nodes of a small network with random weights."""

    def __init__(self, seed: int = 1) -> None:
        self.random, self.nodes, self.tensors = np.random.default_rng(seed), [], []  # type: ignore[var-annotated]

    def constant(self, values: Any, name: str) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, group: int = 1, **attributes: Any) -> str:
        at = len(self.nodes)
        weight = self.random.normal(0, 0.4, (outputs, inputs // group, kernel, kernel)).astype(np.float32)
        bias = self.random.normal(0, 0.1, outputs).astype(np.float32)
        return self.add("Conv", x, self.constant(weight, f"w{at}"), self.constant(bias, f"b{at}"), group=group,
                        kernel_shape=[kernel, kernel], **{"pads": [kernel // 2] * 4, **attributes})

    def write(self, path: Path, output: str, size: int = 32, name: str = "images") -> Path:
        self.nodes.append(helper.make_node("Identity", [output], ["output"]))
        graph = helper.make_graph(
            self.nodes, "foreign", [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, size, size])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
        onnx.save(model, str(path))
        return path


def everything(path: Path) -> Path:
    """A network with the operators of common detectors: halves three times and comes back once, with a shuffle."""
    d = Draft()
    limits = [d.constant(np.array([v], np.int64), f"i{n}") for n, v in enumerate((0, 2**63 - 1, 2, 3))]
    rows = d.add("Slice", "images", limits[0], limits[1], limits[2], limits[2])
    x = d.add("Concat", *(d.add("Slice", rows, start, limits[1], limits[3], limits[2]) for start in limits[:1] * 2),
              axis=1)
    x = d.conv(x, 6, 8)
    x = d.add("Mul", x, d.add("Sigmoid", x))
    norm = [d.constant(d.random.uniform(0.5, 1.5, 8).astype(np.float32), f"n{n}") for n in range(4)]
    x = d.add("BatchNormalization", x, *norm, epsilon=1e-3)
    down = d.add("Relu", d.conv(x, 8, 8, group=8, strides=[2, 2], dilations=[1, 1]))
    first, second, axis, halves = (d.constant(np.array(v, np.int64), name) for v, name in (
        ([4, 2, 64], "first"), ([2, -1, 4, 8, 8], "second"), (1, "one"), (0, "nought")))
    split = d.add("Reshape", d.add("Transpose", d.add("Reshape", down, first), perm=[1, 0, 2]), second)
    down = d.add("Concat", d.add("Gather", split, axis, axis=0), d.add("Gather", split, halves, axis=0), axis=1)
    small = d.conv(d.add("MaxPool", down, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), 8, 8, 1)
    small = d.add("LeakyRelu", small, alpha=0.1)
    pads = d.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")
    pooled = d.add("AveragePool", d.add("Pad", down, pads, mode="constant"), kernel_shape=[3, 3], strides=[2, 2])
    empty, scales = d.constant(np.zeros(0, np.float32), "empty"), d.constant(
        np.array([1, 1, 2, 2], np.float32), "scales")
    back = d.add("Resize", d.add("Add", small, pooled), empty, scales, mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")
    out = d.conv(d.add("Concat", back, down, axis=1), 16, 7, 1)
    out = d.add("Transpose", d.add("Softmax", d.add("Transpose", out, perm=[0, 3, 2, 1]), axis=3), perm=[0, 3, 2, 1])
    return d.write(path, out)


def test_a_foreign_network_computes_what_onnxruntime_does(tmp_path: Path) -> None:
    path = everything(tmp_path / "foreign.onnx")
    picture = np.random.default_rng(2).normal(size=(1, 3, 32, 32)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, {"images": picture})
    (found,) = ForeignNetwork(path).run(torch.from_numpy(picture), ["output"])
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_it_takes_batches_and_sizes_that_it_was_not_exported_for_and_hands_gradients_on(tmp_path: Path) -> None:
    network = ForeignNetwork(everything(tmp_path / "foreign.onnx"))
    pictures = torch.rand(3, 3, 64, 48, requires_grad=True)
    (found,) = network.run(pictures, ["output"])
    assert found.shape == (3, 7, 16, 12)
    (alone,) = network.run(pictures[1:2], ["output"])
    assert torch.allclose(found[1], alone[0], atol=1e-5)
    found[:, 2].sum().backward()
    assert pictures.grad is not None and float(pictures.grad.abs().max()) > 0


def test_the_features_are_the_last_tensors_of_their_resolutions(tmp_path: Path) -> None:
    network = ForeignNetwork(everything(tmp_path / "foreign.onnx"))
    (tap,) = network.features()
    assert tap.startswith("batchnormalization")
    assert len(network.needed([tap])) < len(network.nodes)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    draft = Draft()
    path = draft.write(tmp_path / "odd.onnx", draft.add("Erf", draft.conv("images", 3, 4)))
    with pytest.raises(ValueError, match=r"odd\.onnx: operator Erf \(of erf1\) is not among those known"):
        ForeignNetwork(path).run(torch.zeros(1, 3, 8, 8), ["output"])


def test_an_attribute_that_is_not_known_is_named(tmp_path: Path) -> None:
    draft = Draft()
    path = draft.write(tmp_path / "odd.onnx", draft.add("Pad", draft.conv("images", 3, 4), draft.constant(
        np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads"), mode="reflect"))
    with pytest.raises(ValueError, match=r"Pad \(of pad1\): Pad of mode b'reflect'"):
        ForeignNetwork(path).run(torch.zeros(1, 3, 8, 8), ["output"])


def grid_detector(path: Path, classes: int = 3) -> Path:
    """A detector of one grid of stride 16 whose output is FastestDet's: objectness, box, class scores."""
    d = Draft(4)
    x = d.add("Relu", d.conv("images", 3, 8, strides=[4, 4], kernel=4, pads=[0] * 4))
    x = d.add("Relu", d.conv(x, 8, 16, strides=[2, 2]))
    x = d.add("Relu", d.conv(x, 16, 16, strides=[2, 2]))
    likely = d.add("Sigmoid", d.conv(x, 16, 1, 1))
    names = d.add("Sigmoid", d.conv(x, 16, classes, 1))
    return d.write(path, d.add("Concat", likely, d.conv(x, 16, 4, 1), names, axis=1))


def test_the_distances_vanish_for_the_same_picture_and_grow_with_the_difference(tmp_path: Path) -> None:
    eye = DetectorEye(grid_detector(tmp_path / "grid.onnx"), FastestDet(), (1.0, 0.5))
    torch.manual_seed(3)
    source, noise = torch.rand(2, 3, 64, 128), torch.randn(2, 3, 64, 128)
    wanted = eye(source)
    assert wanted.answers[0].shape == (2, 8, 4, 4) and len(wanted.features) == 2
    same, little, much = (eye.distances(eye(source + by * noise), wanted) for by in (0.0, 0.05, 0.3))
    assert float(same[0]) == float(same[1]) == 0
    assert all(0 < float(a) < float(b) for a, b in zip(little, much, strict=True))


def test_gradients_of_the_distances_reach_the_picture(tmp_path: Path) -> None:
    eye = DetectorEye(grid_detector(tmp_path / "grid.onnx"), FastestDet(), (1.0, 1.0))
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    features, answers = eye.distances(eye(picture), eye(torch.rand(1, 3, 64, 64)))
    for distance in (features, answers):
        (gradient,) = torch.autograd.grad(distance, picture, retain_graph=True)
        assert float(gradient.abs().max()) > 0


def test_colours_come_in_the_order_that_the_family_wants(tmp_path: Path) -> None:
    path = grid_detector(tmp_path / "grid.onnx")
    red = torch.zeros(1, 3, 64, 64)
    red[:, 0] = 0.5
    seen = DetectorEye(path, YoloX(), (1.0, 1.0))(red)
    network = ForeignNetwork(path)
    blue_first = torch.zeros(1, 3, 64, 64)
    blue_first[:, 2] = 127.5
    assert torch.allclose(seen.answers[0], network.run(blue_first, network.answers())[0], rtol=1e-4, atol=1e-3)


def test_a_family_without_a_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="family 'yolov8': expected one of yolox, fastestdet"):
        DetectorEye(grid_detector(tmp_path / "grid.onnx"), YoloV8(), (1.0, 1.0))
