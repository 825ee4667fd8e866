"""Exact networks in 8 bits: the integers of the float32 ones, to the last, on every path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from duoview import Profile
from duoview.backends import CpuBackend, Network
from duoview.export.exact_eight_bits import SUM_LIMIT, exact_in_8_bits
from duoview.export.torch_backend import TorchNetwork
from duoview.golden import exact_inputs
from duoview.profile import EXACT

LEVELS = ("none", "basic", "extended", "layout", "all")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def made(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("eight")
    for name in EXACT:
        onnx.save(exact_in_8_bits(onnx.load(str(profile.path(name)))), str(folder / f"{name}.onnx"))
    return lambda name: folder / f"{name}.onnx"


@pytest.fixture(scope="module")
def paths(made: Callable[[str], Path]) -> dict[str, list[Network]]:
    """By network: it in 8 bits on every path that the CPU has."""
    found: dict[str, list[Network]] = {}
    for name in EXACT:
        path = made(name)
        found[name] = [*(CpuBackend(1, optimise=level).load(path) for level in LEVELS), CpuBackend(2).load(path),
                       TorchNetwork(path, torch.device("cpu")), TorchNetwork(path, torch.device("cpu"), double=True)]
    return found


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), height=st.integers(1, 3), width=st.integers(1, 4), saturate=st.booleans())
def test_it_gives_the_integers_of_the_float32_network_on_every_path(
        profile: Profile, paths: dict[str, list[Network]], name: str, seed: int, height: int, width: int, saturate: bool
        ) -> None:
    inputs = exact_inputs(name, profile.manifest["sizes"], height, width, saturate, seed=seed)
    wanted = CpuBackend(1).load(profile.path(name))(**inputs)
    for network in paths[name]:
        for one, other in zip(network(**inputs), wanted, strict=True):
            assert np.array_equal(one, other) and one.dtype in (other.dtype, np.float64)


@pytest.mark.parametrize("name", EXACT)
def test_it_takes_batches(profile: Profile, made: Callable[[str], Path], name: str) -> None:
    several = [exact_inputs(name, profile.manifest["sizes"], 2, 3, False, seed=seed) for seed in (1, 2)]
    joined = {key: several[0][key] if key == "q" else np.concatenate([one[key] for one in several])
              for key in several[0]}
    network = CpuBackend(1).load(made(name))
    wanted = [network(**{**one, "q": joined["q"]} if "q" in one else one) for one in several]
    for number, found in enumerate(network(**joined)):
        assert np.array_equal(found, np.concatenate([one[number] for one in wanted]))


def convolutions_of(path: Path) -> tuple[int, int]:
    """Those with weights in 8 bits, and all."""
    graph = onnx.load(str(path)).graph
    eight = [c for c in graph.initializer if c.data_type == TensorProto.UINT8 and len(c.dims) == 4]
    return len(eight), sum(node.op_type == "Conv" for node in graph.node)


def test_all_but_the_first_convolutions_and_the_heads_of_means_are_in_8_bits(made: Callable[[str], Path]) -> None:
    assert {name: convolutions_of(made(name)) for name in EXACT} == {
        "key_hyper": (5, 8), "key_context": (4, 5), "inter_hyper": (6, 9), "inter_context": (4, 5)}


def layer(sums: NDArray[np.integer], shift: int, low: float = 0.0, high: float = 255.0, *, weight: int = 0,
          features: int = 1) -> onnx.ModelProto:
    """An exact network of one layer whose sums are its biases and ``weight`` times each of its features."""
    constants = {"w": np.full((len(sums), features, 1, 1), weight, np.int8 if abs(weight) < 128 else np.int16),
                 "b": sums.astype(np.int32), "by": np.float32(2.0**-shift), "half": np.float32(0.5),
                 "low": np.float32(low), "high": np.float32(high)}
    nodes = [helper.make_node("Cast", ["w"], ["wf"], to=TensorProto.FLOAT),
             helper.make_node("Cast", ["b"], ["bf"], to=TensorProto.FLOAT),
             helper.make_node("Conv", ["features", "wf", "bf"], ["c"], kernel_shape=[1, 1], pads=[0] * 4,
                              strides=[1, 1], dilations=[1, 1], group=1),
             helper.make_node("Round", ["c"], ["r"]), helper.make_node("Mul", ["r", "by"], ["m"]),
             helper.make_node("Add", ["m", "half"], ["a"]), helper.make_node("Floor", ["a"], ["f"]),
             helper.make_node("Clip", ["f", "low", "high"], ["k"]),
             helper.make_node("Cast", ["k"], ["u"], to=TensorProto.UINT8), helper.make_node("Identity", ["u"], ["out"])]
    graph = helper.make_graph(
        nodes, "layer", [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.UINT8, ["N", len(sums), "h", "w"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.mark.parametrize("shift", range(1, 15))
def test_a_sum_is_rounded_half_up_whatever_it_is(tmp_path: Path, shift: int) -> None:
    # The result rises with the sum: it is right everywhere where it is right on both sides of every step it takes.
    halves = (2 * np.arange(-3, 258) + 1) * 2 ** (shift - 1)
    near = np.unique(np.add.outer(halves, [-2, -1, 0, 1, 2]).ravel())
    sums = np.unique(np.append(near[np.abs(near) < SUM_LIMIT], [1 - SUM_LIMIT, SUM_LIMIT - 1]))
    onnx.save(exact_in_8_bits(layer(sums, shift)), str(tmp_path / "layer.onnx"))
    wanted = np.clip((sums + 2 ** (shift - 1)) >> shift, 0, 255)
    networks: list[Network] = [CpuBackend(1, optimise=level).load(tmp_path / "layer.onnx") for level in LEVELS]
    networks += [TorchNetwork(tmp_path / "layer.onnx", torch.device("cpu"), double=double) for double in (False, True)]
    for network in networks:
        assert np.array_equal(network(features=np.zeros((1, 1, 2, 3), np.float32))[0][0, :, 1, 1], wanted)


@pytest.mark.parametrize("weight", [-127, 127])
def test_pairs_of_the_largest_products_do_not_saturate(tmp_path: Path, weight: int) -> None:
    features = np.full((1, 64, 2, 2), 255, np.float32)
    onnx.save(exact_in_8_bits(layer(np.array([-weight * 255 * 64 + 9]), 1, weight=weight, features=64)),
              str(tmp_path / "layer.onnx"))
    for level in LEVELS:
        found = CpuBackend(1, optimise=level).load(tmp_path / "layer.onnx")(features=features)[0]
        assert found.ravel().tolist() == [5] * 4


@pytest.mark.parametrize(("sums", "shift", "weight", "message"), [
    (SUM_LIMIT, 7, 0, "sums of up to 4194304"),
    (SUM_LIMIT - 255, 7, 1, "sums of up to 4194304"),
    (0, 15, 0, "of which 15 bits are taken away"),
    (0, 0, 0, "of which 0 bits are taken away"),
    (0, 7, 128, "has a weight of 128")])
def test_sums_and_weights_of_too_many_bits_are_refused(sums: int, shift: int, weight: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_in_8_bits(layer(np.array([sums]), shift, weight=weight))


def test_a_network_that_is_built_in_another_way_is_refused(profile: Profile) -> None:
    with pytest.raises(ValueError, match=r"encoder: .* has no form in 8 bits"):
        exact_in_8_bits(onnx.load(str(profile.path("encoder"))))
    other = onnx.load(str(profile.path("key_context")))
    for node in other.graph.node:
        if node.op_type == "Floor":
            node.op_type = "Ceil"
    with pytest.raises(ValueError, match="does not stand between convolutions and what brings their sums back"):
        exact_in_8_bits(other)


def test_sums_behind_integers_of_more_than_8_bits_are_refused(profile: Profile) -> None:
    model = onnx.load(str(profile.path("key_context")))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    clip = next(node for node in model.graph.node if node.output[0] == convolutions[-1].input[0])
    for name, end in zip(clip.input[1:], (-2047, 2047), strict=True):  # what the heads read
        constant = next(c for c in model.graph.initializer if c.name == name)
        constant.CopyFrom(numpy_helper.from_array(np.float32(end), name))
    with pytest.raises(ValueError, match=r"has sums of up to [0-9]{8}, of which"):
        exact_in_8_bits(model)


def test_what_is_enlarged_must_not_be_read_elsewhere(profile: Profile) -> None:
    model = onnx.load(str(profile.path("key_hyper")))
    shuffled = next(node for node in model.graph.node if node.op_type == "DepthToSpace")
    model.graph.output.append(helper.make_tensor_value_info(shuffled.input[0], TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match="or not the only one that reads what a convolution puts out"):
        exact_in_8_bits(model)
