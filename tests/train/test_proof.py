"""The proof of exact networks: what runtimes compute otherwise than files say is refused, what is accepted is alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from duoview.export.exact_synthesis import SLOPE
from duoview.export.proof import ZEROS, Grid, Proof, Rounded, fraction_of, significant_of

LEVELS = onnxruntime.GraphOptimizationLevel


def small(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    shape = ["N", 1, "h", "w"]
    return helper.make_model(helper.make_graph(
        list(nodes), "small", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)], stored))


def test_a_proof_refuses_to_convolve_what_may_have_been_rounded() -> None:
    convolution = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[1, 1], pads=[0] * 4, strides=[1, 1])
    model = small(convolution, w=np.ones((1, 1, 1, 1), np.float32), b=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"y \(Conv\) reads x, which may have been rounded; expected a tensor on a"):
        Proof(model, {"x": Rounded(16.0)})
    assert Proof(model, {"x": Grid(0, 2.0**20)}).sums == {"y": 20.0}


def in_8_bits(name: str, source: str) -> list[onnx.NodeProto]:
    """Nodes that bring a tensor to 8 bits and back."""
    return [helper.make_node("QuantizeLinear", [source, "step", "zero"], [f"{name}.steps"]),
            helper.make_node("DequantizeLinear", [f"{name}.steps", "step", "zero"], [name])]


EIGHT: dict[str, Any] = {"step": np.array(1, np.float32), "zero": np.array(127, np.uint8)}
CONVOLUTION: dict[str, Any] = {"kernel_shape": [1, 1], "pads": [0] * 4, "strides": [1, 1]}


def test_a_proof_refuses_operators_between_8_bits_that_runtimes_replace() -> None:
    model = small(*in_8_bits("a", "x"), *in_8_bits("b", "x"), helper.make_node("Add", ["a", "b"], ["sum"]),
                  *in_8_bits("y", "sum"), **EIGHT)
    with pytest.raises(ValueError, match=r"sum \(Add\) stands between 8 bits and 8 bits, where runtimes put operators"):
        Proof(model, {"x": Grid(0, 100.0)})


def test_a_proof_counts_the_bits_of_a_rectifiers_slope() -> None:
    model = small(helper.make_node("LeakyRelu", ["x"], ["l"], alpha=SLOPE),
                  helper.make_node("Gather", ["t", "q"], ["r"]), helper.make_node("Mul", ["l", "r"], ["y"]),
                  t=np.array([2047], np.float32))
    model.graph.input.append(helper.make_tensor_value_info("q", onnx.TensorProto.INT64, [1]))
    Proof(model, {"x": Grid(0, 2.0**9)})
    with pytest.raises(ValueError, match=r"y \(Mul\) is a product of 16.00 and 11.00 bits; 24 can be held"):
        Proof(model, {"x": Grid(0, 2.0**12)})


def test_a_proof_refuses_zero_points_of_weights_and_biases_in_other_steps() -> None:
    nodes = [*in_8_bits("a", "x"), helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weight"], axis=0),
             helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bias"], axis=0),
             helper.make_node("Conv", ["a", "weight", "bias"], ["y"], **CONVOLUTION)]
    constants: dict[str, Any] = {
        "w": np.ones((1, 1, 1, 1), np.int8), "ws": np.array([0.5], np.float32), "wz": np.zeros(1, np.int8),
        "b": np.ones(1, np.int32), "bs": np.array([0.5], np.float32), "bz": np.zeros(1, np.int32), **EIGHT}
    assert Proof(small(*nodes, **constants), {"x": Rounded(9.0)}).sums == {"y": pytest.approx(math.log2(129))}
    with pytest.raises(ValueError, match=r"weight \(DequantizeLinear\) has zero points"):
        Proof(small(*nodes, **constants | {"wz": np.ones(1, np.int8)}), {"x": Rounded(9.0)})
    with pytest.raises(ValueError, match=r"y \(Conv\) has a bias in other steps than those of its products"):
        Proof(small(*nodes, **constants | {"bs": np.array([0.25], np.float32)}), {"x": Rounded(9.0)})


def test_a_proof_refuses_kernels_that_runtimes_transform() -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **CONVOLUTION | {"kernel_shape": [3, 3]})
    constants: dict[str, Any] = {"b": np.zeros(1, np.float32)}
    with pytest.raises(ValueError, match=r"y \(Conv\) has kernels of \(2, 3, 3\), which runtimes may transform"):
        Proof(small(node, w=np.ones((1, 2, 3, 3), np.float32), **constants), {"x": Grid(0, 1.0)})
    Proof(small(node, w=np.ones((1, 1, 3, 3), np.float32), **constants), {"x": Grid(0, 1.0)})


def test_a_proof_refuses_a_sum_that_runtimes_add_to_a_convolution_s_one_by_one() -> None:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **CONVOLUTION),
             helper.make_node("Add", ["c", "k"], ["y"])]
    constants: dict[str, Any] = {"w": np.ones((1, 1, 1, 1), np.float32), "b": np.zeros(1, np.float32)}
    Proof(small(*nodes, k=np.array([0.5], np.float32), **constants), {"x": Grid(0, 100.0)})
    with pytest.raises(ValueError, match=r"y \(Add\) may be rounded and has a convolution's sums among its parts"):
        Proof(small(*nodes, k=np.array([2.0**-20], np.float32), **constants), {"x": Grid(0, 100.0)})


def test_a_proof_knows_what_a_clip_that_leaves_out_zero_makes() -> None:
    model = small(helper.make_node("Clip", ["x", "low", "high"], ["y"]), low=np.array(5, np.float32),
                  high=np.array(10, np.float32))
    assert Proof(model, {"x": Grid(0, 1.0)}).known["y"] == Grid(0, 10.0)


def test_a_proof_refuses_blended_enlargements_and_graphs_that_lack_something() -> None:
    resize = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")
    with pytest.raises(ValueError, match=r"y \(Resize\) is of mode linear; expected nearest"):
        Proof(small(resize, scales=np.ones(4, np.float32)), {"x": Grid(0, 1.0)})
    with pytest.raises(ValueError, match=r"y \(Floor\) is not as export.exact_synthesis makes it \(KeyError: 'x'\)"):
        Proof(small(helper.make_node("Floor", ["x"], ["y"])), {})


def test_a_proof_knows_no_other_operators() -> None:
    model = small(helper.make_node("Sigmoid", ["x"], ["y"]))
    with pytest.raises(ValueError, match="small: y is made by Sigmoid, of which nothing is known"):
        Proof(model, {"x": Grid(0, 1.0)})


def test_a_proof_refuses_a_sum_in_another_step_of_zero_points() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["i"]),
             helper.make_node("DequantizeLinear", ["i", "step", "other"], ["y"])]
    with pytest.raises(ValueError, match=r"y \(DequantizeLinear\) has a step of 1.0 and a zero point of 0, uint8, its "
                                         "integers 1.0 and 127, uint8"):
        Proof(small(*nodes, other=np.array(0, np.uint8), **EIGHT), {"x": Grid(0, 100.0)})


def test_a_proof_refuses_8_bits_made_of_8_bits() -> None:
    other = {"wide": np.array(2, np.float32)}
    again = [helper.make_node("QuantizeLinear", ["a", "wide", "zero"], ["i"]),
             helper.make_node("DequantizeLinear", ["i", "wide", "zero"], ["y"])]
    with pytest.raises(ValueError, match=r"i \(QuantizeLinear\) has 8 bits made of 8 bits, of which runtimes make one"):
        Proof(small(*in_8_bits("a", "x"), *again, **EIGHT, **other), {"x": Grid(0, 100.0)})


@pytest.mark.parametrize("kind", ["Identity", "Transpose", "Reshape", "MaxPool", "Clip"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_proof_looks_past_what_only_moves_numbers(kind: str, behind: bool) -> None:
    inputs = {"Reshape": ["shape"], "Clip": ["low", "high"]}.get(kind, [])
    attributes: dict[str, Any] = {"Transpose": {"perm": [0, 1, 3, 2]},
                                  "MaxPool": {"kernel_shape": [1, 1]}}.get(kind, {})
    constants: dict[str, Any] = {"shape": np.array([0, 0, 0, 0]), "low": np.array(-127, np.float32),
                                 "high": np.array(128, np.float32)}
    moved = helper.make_node(kind, ["sum" if behind else "a", *inputs], ["moved"], **attributes)
    add = helper.make_node("Add", ["a" if behind else "moved", "b"], ["sum"])
    middle = [add, moved] if behind else [moved, add]
    model = small(*in_8_bits("a", "x"), *in_8_bits("b", "x"), *middle, *in_8_bits("y", "moved" if behind else "sum"),
                  **{name: constants[name] for name in inputs}, **EIGHT)
    with pytest.raises(ValueError, match=r"sum \(Add\) stands between 8 bits and 8 bits"):
        Proof(model, {"x": Grid(0, 100.0)})


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("folded", [False, True])
def test_a_proof_refuses_float_weights_between_8_bits(kernel: int, folded: bool) -> None:
    attributes = CONVOLUTION | {"kernel_shape": [kernel, kernel], "pads": [kernel // 2] * 4}
    half = {"half": np.array(0.5, np.float32)} if folded else {}
    model = small(*in_8_bits("a", "x"), helper.make_node("Conv", ["a", "w", "b"], ["sum"], **attributes),
                  *([helper.make_node("Mul", ["sum", "half"], ["scaled"])] if folded else []),
                  *in_8_bits("y", "scaled" if folded else "sum"), w=np.full((1, 1, kernel, kernel), 0.5, np.float32),
                  b=np.zeros(1, np.float32), **half, **EIGHT)
    with pytest.raises(ValueError, match=r"sum \(Conv\) stands between 8 bits and 8 bits and is not in 8 bits itself"):
        Proof(model, {"x": Grid(0, 100.0)})


def test_a_proof_refuses_a_float_bias_finer_than_its_products() -> None:
    nodes = [*in_8_bits("a", "x"), helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weight"], axis=0),
             helper.make_node("Conv", ["a", "weight", "b"], ["sum"], **CONVOLUTION), *in_8_bits("y", "sum")]
    constants: dict[str, Any] = {"w": np.ones((1, 1, 1, 1), np.int8), "ws": np.array([0.5], np.float32),
                                 "wz": np.zeros(1, np.int8), **EIGHT}
    Proof(small(*nodes, b=np.array([1.5], np.float32), **constants), {"x": Grid(0, 100.0)})
    with pytest.raises(ValueError, match=r"sum \(Conv\) has a bias that is no whole number of 32 bits in the steps of"):
        Proof(small(*nodes, b=np.array([1.25], np.float32), **constants), {"x": Grid(0, 100.0)})


@pytest.mark.parametrize("between", ["Identity", "Mul", "Add"])
def test_a_proof_looks_for_convolutions_behind_what_runtimes_fold_into_them(between: str) -> None:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **CONVOLUTION),
             helper.make_node(between, ["c", *([] if between == "Identity" else ["half"])], ["d"]),
             helper.make_node("Add", ["d", "k"], ["y"])]
    model = small(*nodes, w=np.ones((1, 1, 1, 1), np.float32), b=np.zeros(1, np.float32),
                  half=np.array(0.5, np.float32), k=np.array(2.0**-20, np.float32))
    with pytest.raises(ValueError, match=r"y \(Add\) may be rounded and has a convolution's sums among its parts"):
        Proof(model, {"x": Grid(0, 100.0)})


def test_a_proof_refuses_slopes_that_are_none_and_what_constants_make() -> None:
    for slope in (0.0, 1.0, 3.0, -0.5):
        with pytest.raises(ValueError, match=rf"y \(LeakyRelu\) has a slope of {slope}; expected one between 0 and 1"):
            Proof(small(helper.make_node("LeakyRelu", ["x"], ["y"], alpha=slope)), {"x": Grid(0, 1.0)})
    nodes = [helper.make_node("Gather", ["t", "i"], ["row"]), helper.make_node("Mul", ["x", "row"], ["y"])]
    with pytest.raises(ValueError, match=r"row \(Gather\) is computed from constants alone, which runtimes do before"):
        Proof(small(*nodes, t=np.array([2047], np.float32), i=np.array([0])), {"x": Grid(0, 1.0)})


def test_a_proof_looks_past_a_reshape_to_sizes_that_are_computed() -> None:
    nodes = [*in_8_bits("a", "x"), helper.make_node("Shape", ["x"], ["sizes"]),
             helper.make_node("Reshape", ["a", "sizes"], ["same"]),
             helper.make_node("Conv", ["same", "w", "b"], ["sum"], **CONVOLUTION), *in_8_bits("y", "sum")]
    with pytest.raises(ValueError, match=r"sum \(Conv\) stands between 8 bits and 8 bits and is not in 8 bits itself"):
        Proof(small(*nodes, w=np.full((1, 1, 1, 1), 0.5, np.float32), b=np.zeros(1, np.float32), **EIGHT),
              {"x": Grid(0, 100.0)})


def test_a_proof_refuses_an_output_that_is_brought_to_8_bits_as_well() -> None:
    # onnxruntime 1.32 gives back what LeakyRelu makes in 8 bits, which the file does not say.
    nodes = [helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 1, 3, 2]),
             helper.make_node("LeakyRelu", ["turned"], ["l"], alpha=SLOPE), *in_8_bits("a", "l"),
             helper.make_node("Transpose", ["l"], ["y"], perm=[0, 1, 3, 2])]
    with pytest.raises(ValueError, match="small: l is put out, as it is or moved, and brought to 8 bits as well"):
        Proof(small(*nodes, **EIGHT), {"x": Grid(0, 100.0)})


def test_a_proof_refuses_operators_of_other_makers_and_numbers_near_the_ends_of_float32() -> None:
    with pytest.raises(ValueError, match="y is made by Floor, of which nothing is known"):
        Proof(small(helper.make_node("Floor", ["x"], ["y"], domain="com.example")), {"x": Grid(0, 1.0)})
    with pytest.raises(ValueError, match=r"y \(Identity\) has numbers up to 2.03e\+31 .* near the ends of what"):
        Proof(small(helper.make_node("Identity", ["x"], ["y"])), {"x": Grid(-90, 2.0**104)})


CHANNELS, SIDE = 4, 6
KINDS = ("8 bits", "8 bits", "conv 8", "conv", "depthwise", "leaky", "add", "add number", "mul", "identity", "clip",
         "pool", "transpose", "floor", "reshape", "row", "product")
STEP = st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3), st.integers(-3, 2), st.integers(0, 9))


class Graph:
    """A network of drawn operators, each on one or two of what was made last."""

    def __init__(self, steps: list[tuple[str, int, int, int, int]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.made = ["x"]
        for number, step in enumerate(steps):
            self.step(f"t{number}", *step)
        self.nodes.append(helper.make_node("Identity", [self.made[-1]], ["y"]))

    def number(self, value: Any, kind: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(value, kind)
        return name

    def shape(self, name: str) -> str:
        """Computed, and the one that all have."""
        sizes, some, rest = (f"{name}.{part}" for part in ("sizes", "some", "shape"))
        self.nodes += [helper.make_node("Shape", [self.made[-1]], [sizes]),
                       helper.make_node("Gather", [sizes, self.number([0, 1], np.int64)], [some], axis=0),
                       helper.make_node("Concat", [some, self.number([SIDE, SIDE], np.int64)], [rest], axis=0)]
        return rest

    def row(self, name: str, power: int, seed: int) -> str:
        """Of a table, by an input or by a constant."""
        table = self.number(np.full((2, 1, 1, 1), 3 * 2.0**power))
        index = "q" if seed % 2 else self.number([1], np.int64)
        self.nodes.append(helper.make_node("Gather", [table, index], [f"{name}.row"], axis=0))
        return f"{name}.row"

    def step(self, name: str, kind: str, first: int, second: int, power: int, seed: int) -> None:
        x, other = (self.made[max(len(self.made) - 1 - back, 0)] for back in (first, second))
        random, node = np.random.default_rng(seed), helper.make_node
        if kind == "8 bits":
            integer: type = (np.uint8, np.int8)[seed % 2]
            zero = (0, 127, 128)[seed % 3] if integer is np.uint8 else 0
            parts = [self.number(2.0**power), self.number(zero, integer)]
            self.nodes += [node("QuantizeLinear", [x, *parts], [f"{name}.i"]),
                           node("DequantizeLinear", [f"{name}.i", *parts], [name])]
        elif kind in ("conv", "conv 8", "depthwise"):
            side, deep = (3, 1) if kind == "depthwise" else (1, CHANNELS)
            weight = random.integers(-60, 60, (CHANNELS, deep, side, side))
            w, b = f"{name}.w", self.number(random.integers(-60, 60, CHANNELS) * 2.0**power)
            if kind == "conv 8":
                steps = self.number(np.full(CHANNELS, 2.0**-6))
                zeros = self.number(np.zeros(CHANNELS), np.int8)
                self.nodes.append(node("DequantizeLinear", [self.number(weight, np.int8), steps, zeros], [w], axis=0))
            else:
                w = self.number(weight / 64)
            self.nodes.append(node("Conv", [x, w, b], [name], kernel_shape=[side, side], pads=[side // 2] * 4,
                                   strides=[1, 1], group=CHANNELS // deep))
        else:
            slope = SLOPE if seed < 7 else (0.5, 0.0, 3.0)[seed - 7]
            more = {"reshape": self.shape, "row": lambda name: self.row(name, power, seed)}
            others: dict[str, tuple[str, list[str], dict[str, Any]]] = {
                "leaky": ("LeakyRelu", [x], {"alpha": slope}), "add": ("Add", [x, other], {}),
                "add number": ("Add", [x, self.number(2.0 ** (8 * power))], {}),
                "mul": ("Mul", [x, self.number(2.0**power)], {}), "identity": ("Identity", [x], {}),
                "clip": ("Clip", [x, self.number(-100), self.number(90)], {}),
                "pool": ("MaxPool", [x], {"kernel_shape": [3, 3], "pads": [1] * 4}),
                "transpose": ("Transpose", [x], {"perm": [0, 1, 3, 2]}), "floor": ("Floor", [x], {}),
                "reshape": ("Reshape", [x], {}), "row": ("Mul", [x], {}), "product": ("Mul", [x, other], {})}
            operator, inputs, attributes = others[kind]
            inputs = [*inputs, *([more[kind](name)] if kind in more else [])]
            self.nodes.append(node(operator, inputs, [name], **attributes))
        self.made.append(name)

    def model(self) -> onnx.ModelProto:
        shape = [1, CHANNELS, SIDE, SIDE]
        graph = helper.make_graph(
            self.nodes, "drawn", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape),
                                  helper.make_tensor_value_info("q", onnx.TensorProto.INT64, [1])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def outputs(model: onnx.ModelProto, level: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads, options.log_severity_level = level, 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x, "q": np.array([1])})[0])


def test_what_a_proof_accepts_is_alike_whatever_the_runtime_replaces() -> None:
    accepted = []

    @settings(max_examples=1200, deadline=None)
    @given(st.lists(STEP, min_size=2, max_size=9), st.integers(0, 99))
    def holds(steps: list[tuple[str, int, int, int, int]], seed: int) -> None:
        model = Graph(steps).model()
        try:
            Proof(model, {"x": Grid(0, 128.0)})
        except ValueError:
            return
        accepted.append(steps)
        x = np.random.default_rng(seed).integers(-128, 129, (1, CHANNELS, SIDE, SIDE)).astype(np.float32)
        wanted = outputs(model, LEVELS.ORT_DISABLE_ALL, x)
        for level in (LEVELS.ORT_ENABLE_BASIC, LEVELS.ORT_ENABLE_EXTENDED, LEVELS.ORT_ENABLE_ALL):
            assert np.array_equal(outputs(model, level, x), wanted)

    holds()
    assert len(accepted) > 40
    assert {kind for steps in accepted for kind, *_ in steps} == set(KINDS)


@given(st.integers(-(2**24) + 1, 2**24 - 1), st.integers(-30, 30))
def test_fraction_and_significant_bits_are_those_of_the_number(whole: int, exponent: int) -> None:
    value = np.array([whole * 2.0**exponent])
    odd, shift = whole, exponent
    while odd and odd % 2 == 0:
        odd, shift = odd // 2, shift + 1
    assert fraction_of(value) == (-shift if whole else ZEROS)
    assert significant_of(value) == abs(odd).bit_length()
