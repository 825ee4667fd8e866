"""Networks that make what is handed on, in exact numbers: the same on every path, near the float network, proven."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from duoview import Profile
from duoview.backends import CpuBackend, Network
from duoview.backends.engine import EngineMachine
from duoview.backends.engine_shapes import golden
from duoview.errors import EngineError
from duoview.export.calibration import distinct, samples
from duoview.export.channels_last import rearranged
from duoview.export.engines import Job
from duoview.export.equalisation import Sample, observed
from duoview.export.exact_synthesis import (
    EXACT_BITS,
    GRIDS_KEY,
    LARGEST,
    SLOPE,
    SPARE_BITS,
    UNITS_KEY,
    WEIGHT_BITS,
    exact,
)
from duoview.export.parity import difference, drawn_clip
from duoview.export.precision import LARGE, Plan, folded
from duoview.export.proof import (
    SIGNIFICAND,
    STATE_INPUTS,
    Grid,
    Proof,
    proven,
)
from duoview.export.torch_backend import TorchNetwork
from duoview.export.tuning import QuantisedNetwork, Tuning, tuned
from duoview.golden import exact_inputs

#: Network, plan of convolutions in 8 bits, activations around 0.
KINDS: list[tuple[str, Plan | None, bool]] = [
    ("key_synthesis", None, False), ("inter_synthesis", None, False), ("inter_synthesis", LARGE, False),
    ("inter_synthesis", LARGE, True), ("inter_synthesis", LARGE, False)]
NAMES = ["key", "inter", "inter in 8 bits", "inter in signed 8 bits", "inter rearranged"]
MACHINE = EngineMachine("10.0.0", 12040, "a GPU", "9.0", 132)
#: How far from the float network each is before it is tuned, as a share of what it puts out.
OFF = [0.023, 0.0055, 0.012, 0.012, 0.012]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def calls(profile: Profile) -> dict[str, list[Sample]]:
    found = samples(profile, [drawn_clip(frames=4, width=128, height=80)])
    return {name: list(distinct(found[name])) for name in ("key_synthesis", "inter_synthesis")}


@pytest.fixture(scope="module")
def made(profile: Profile, calls: dict[str, list[Sample]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("exact"), []
    for number, (name, plan, signed) in enumerate(KINDS):
        path = folder / str(number) / f"{name}.onnx"
        path.parent.mkdir()
        onnx.save(exact(onnx.load(str(profile.path(name))), calls[name], plan, signed=signed), str(path))
        if path.parent.name == "4":
            onnx.save(rearranged(onnx.load(str(path)), "previous"), str(path))
        found.append(path)
    return found


def inputs_of(profile: Profile, name: str, calls: dict[str, list[Sample]]) -> list[dict[str, NDArray[Any]]]:
    """What it is given in use, and drawn: small numbers and all at their limits."""
    drawn = [exact_inputs(name, profile.manifest["sizes"], 2, 3, saturate) for saturate in (False, True)]
    return [*(dict(call) for call in calls[name]), *drawn]


def proof_of(model: onnx.ModelProto) -> Proof:
    given = {value.name for value in model.graph.input}
    return Proof(model, {name: kind for name, kind in STATE_INPUTS.items() if name in given})


@pytest.mark.parametrize("number", range(len(KINDS)), ids=NAMES)
def test_every_path_on_the_cpu_gives_the_same_numbers(profile: Profile, calls: dict[str, list[Sample]],
                                                      made: list[Path], number: int) -> None:
    path = made[number]
    reference = TorchNetwork(path, torch.device("cpu"), double=True)
    others: list[Network] = [TorchNetwork(path, torch.device("cpu")), CpuBackend(2).load(path)]
    others += [CpuBackend(1, optimise=level).load(path) for level in ("none", "basic", "extended", "all")]
    for one in inputs_of(profile, KINDS[number][0], calls):
        (expected,) = reference(**one)
        assert np.array_equal(64 * expected, np.rint(64 * expected)) and np.abs(expected).max() <= 16
        for other in others:
            assert np.array_equal(other(**one)[0], expected)


@pytest.mark.parametrize("number", range(len(KINDS)), ids=NAMES)
def test_it_is_near_the_float_network(profile: Profile, calls: dict[str, list[Sample]], made: list[Path], number: int
                                      ) -> None:
    name = KINDS[number][0]
    wanted, found = (CpuBackend(1).load(path) for path in (profile.path(name), made[number]))
    off = [difference(wanted(**call)[0], found(**call)[0]) for call in calls[name]]
    assert 0 < np.mean(off) < OFF[number]


def in_8_bits(model: onnx.ModelProto) -> set[str]:
    return {c.name for c in model.graph.initializer if numpy_helper.to_array(c).dtype == np.int8 and len(c.dims) == 4}


def test_the_convolution_whose_8_bits_make_most_of_the_error_stays_in_float32(
        profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "inter_synthesis"
    network, given = onnx.load(str(profile.path(name))), calls[name][:2]
    wanted = [CpuBackend(1).load(profile.path(name))(**call)[0] for call in given]

    def error(model: onnx.ModelProto) -> float:
        onnx.save(model, str(tmp_path / "one.onnx"))
        found = CpuBackend(1).load(tmp_path / "one.onnx")
        return float(np.mean([np.log(np.square(found(**call)[0] - one).mean())
                              for call, one in zip(given, wanted, strict=True)]))

    whole, spared = exact(network, given, LARGE), exact(network, given, LARGE, spared=1)
    assert len(in_8_bits(whole) - in_8_bits(spared)) == 1 and in_8_bits(spared) < in_8_bits(whole)
    proven(spared)
    assert error(spared) < error(whole) - 0.05
    for place in (0, -1):  # another one in its place
        with monkeypatch.context() as patch:
            patch.setattr("duoview.export.exact_synthesis._spared",
                          lambda _, seen, eight, samples, signed, place=place: eight - {sorted(eight)[place]})
            assert error(exact(network, given, LARGE, spared=1)) >= error(spared)


def test_where_nothing_is_in_8_bits_nothing_is_spared(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    network, given = onnx.load(str(profile.path("key_synthesis"))), calls["key_synthesis"][:1]
    assert exact(network, given, None, spared=1) == exact(network, given, None)


def test_one_convolution_at_least_is_left_in_8_bits(profile: Profile, calls: dict[str, list[Sample]],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duoview.export.exact_synthesis._spared",
                        lambda _, seen, eight, samples, signed: eight - {min(eight)})
    network = onnx.load(str(profile.path("inter_synthesis")))
    assert len(in_8_bits(exact(network, calls["inter_synthesis"][:1], LARGE, spared=99))) == 1


@pytest.mark.parametrize("number", range(len(KINDS)), ids=NAMES)
def test_no_sum_of_a_convolution_is_larger_than_was_proven(profile: Profile, calls: dict[str, list[Sample]],
                                                           made: list[Path], number: int) -> None:
    name, model = KINDS[number][0], onnx.load(str(made[number]))
    proof = proof_of(model)
    assert proven(model) == proof.sums and 10 < min(proof.sums.values()) <= max(proof.sums.values()) <= SIGNIFICAND
    for values in observed(model, list(proof.sums), inputs_of(profile, name, calls)):
        for tensor, value in values.items():
            form = proof.known[tensor]
            assert isinstance(form, Grid)
            whole = value.astype(np.float64) * 2.0**form.fraction
            assert np.array_equal(whole, np.rint(whole)) and np.abs(value).max() <= form.bound


@pytest.mark.parametrize("number", range(3), ids=NAMES[:3])
def test_every_row_of_weights_has_the_bits_that_its_own_sums_leave(made: list[Path], number: int) -> None:
    model = onnx.load(str(made[number]))
    proof = proof_of(model)
    grids = json.loads({p.key: p.value for p in model.metadata_props}[GRIDS_KEY])
    constants = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in model.graph.initializer}
    rows = {name: fractions for name, fractions in grids.items() if constants[name].ndim > 1}
    assert sum(len(set(fractions)) > 1 for fractions in rows.values()) > len(rows) / 2
    for name, fractions in grids.items():
        whole = constants[name] * 2.0 ** np.array(fractions).reshape(-1, *[1] * (constants[name].ndim - 1))
        assert np.array_equal(whole, np.rint(whole)) and np.abs(whole).max() <= 2.0**EXACT_BITS
        assert name not in rows or np.abs(whole).max() <= 2.0**WEIGHT_BITS
    # Most rows are as fine as they may be: with a bit more, weights or sums would have too many.
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in rows and len(set(rows[node.input[1]])) > 1:
            weight, offset = constants[node.input[1]], constants[node.input[2]]
            largest = np.log2(np.abs(weight).reshape(len(weight), -1).max(1)) + rows[node.input[1]]
            given = proof.known[node.input[0]]
            assert isinstance(given, Grid)
            sums = np.log2(np.abs(weight).reshape(len(weight), -1).sum(1) * given.bound + np.abs(offset))
            sums += rows[node.input[1]] + np.full(len(weight), given.fraction)
            assert ((largest > WEIGHT_BITS - 1.01) | (sums > EXACT_BITS - SPARE_BITS - 1.01)).mean() > 0.9


def test_what_was_handed_on_is_brought_to_its_grid_once(made: list[Path]) -> None:
    graph = onnx.load(str(made[1])).graph
    assert sorted(node.op_type for node in graph.node if "previous" in node.input) == ["Add", "Mul"]


def test_rows_before_a_table_of_the_quality_index_have_grids_of_their_own(made: list[Path]) -> None:
    model = onnx.load(str(made[1]))
    grids = json.loads({p.key: p.value for p in model.metadata_props}[GRIDS_KEY])
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    assert len(set(grids[first.input[1]])) > 1


def test_joined_tensors_keep_the_units_of_their_channels(made: list[Path]) -> None:
    units = json.loads({p.key: p.value for p in onnx.load(str(made[1])).metadata_props}[UNITS_KEY])
    mixed = [unit for unit in units.values() if isinstance(unit, list) and len(set(unit)) > 1]
    assert mixed and all(len(set(unit)) == 2 for unit in mixed)


@pytest.mark.parametrize("number", range(4), ids=NAMES[:4])
def test_tuned_it_is_nearer_to_the_float_network_and_still_exact(
        profile: Profile, calls: dict[str, list[Sample]], made: list[Path], number: int, tmp_path: Path) -> None:
    name = KINDS[number][0]
    before = onnx.load(str(made[number]))
    after = tuned(before, profile.path(name), calls[name], Tuning(steps=60, rate=4e-4), limit=LARGEST)
    proven(after)
    onnx.save(after, str(tmp_path / "after.onnx"))
    wanted, *both = (CpuBackend(1).load(path) for path in (profile.path(name), made[number], tmp_path / "after.onnx"))
    was, is_now = (sum(float(np.square(one(**call)[0] - wanted(**call)[0]).mean()) for call in calls[name])
                   for one in both)
    assert is_now < 0.9 * was
    steps = [{c.name: numpy_helper.to_array(c).tolist() for c in model.graph.initializer if c.name.endswith(".step")}
             for model in (before, after)]
    assert steps[0] == steps[1]
    one = dict(calls[name][-1])
    assert np.array_equal(TorchNetwork(tmp_path / "after.onnx", torch.device("cpu"))(**one)[0], both[1](**one)[0])


@pytest.mark.parametrize("number", range(4), ids=NAMES[:4])
def test_channels_between_convolutions_may_be_scaled(profile: Profile, calls: dict[str, list[Sample]],
                                                     made: list[Path], number: int) -> None:
    name = KINDS[number][0]
    network = QuantisedNetwork(onnx.load(str(made[number])), LARGEST)
    network.scale_channels(folded(onnx.load(str(profile.path(name)))))
    given = [{key: torch.from_numpy(value) for key, value in call.items()} for call in calls[name][:3]]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        before = [network(**one)[0].numpy() for one in given]
        for scale in network.scales:
            scale.add_(torch.randn(scale.shape, generator=generator), alpha=0.3)
        after = [network(**one)[0].numpy() for one in given]
        off = np.mean([difference(a, b) for a, b in zip(before, after, strict=True)])
        assert len(network.scales) >= 8 and 0 < off < 4 * OFF[number]
        network.scales[0].add_(1.0)  # all channels of one place, by as much: as little is lost
        assert np.mean([difference(a, network(**one)[0].numpy()) for a, one in zip(before, given, strict=True)]) < 0.2


@pytest.mark.parametrize("number", range(4), ids=NAMES[:4])
def test_what_is_tuned_is_what_is_written(profile: Profile, calls: dict[str, list[Sample]], made: list[Path],
                                          number: int, tmp_path: Path) -> None:
    network = QuantisedNetwork(onnx.load(str(made[number])), LARGEST)
    network.scale_channels(folded(onnx.load(str(profile.path(KINDS[number][0])))))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=3e-3)
        onnx.save(network.exported(), str(tmp_path / "one.onnx"))
        written = TorchNetwork(tmp_path / "one.onnx", torch.device("cpu"))
        for call in calls[KINDS[number][0]]:
            (tuned_to,) = network(**{name: torch.from_numpy(value) for name, value in call.items()})
            assert np.array_equal(tuned_to.numpy(), written(**call)[0])


@pytest.mark.parametrize("number", range(4), ids=NAMES[:4])
def test_rows_of_weights_that_outgrow_their_sums_shrink_to_what_these_leave(profile: Profile, made: list[Path],
                                                                             number: int) -> None:
    network = QuantisedNetwork(onnx.load(str(made[number])), LARGEST)
    network.scale_channels(folded(onnx.load(str(profile.path(KINDS[number][0])))))
    before = proven(network.exported())
    with torch.no_grad():
        for name, grid in network._grids.items():
            if grid.ndim > 1:
                parameters, place = network._values[name]
                parameters[place] *= 3.0
    after = proven(network.exported())
    assert max(after.values()) > SIGNIFICAND - 0.05
    for name, bits in after.items():
        assert before[name] <= bits <= min(before[name] + math.log2(3) + 0.01, SIGNIFICAND)


def test_what_gradients_lead_beyond_the_proof_is_not_taken(
        profile: Profile, calls: dict[str, list[Sample]], made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    name = KINDS[2][0]

    def refused(_: onnx.ModelProto) -> None:
        raise ValueError("too many bits")

    monkeypatch.setattr("duoview.export.tuning.proven", refused)
    before = onnx.load(str(made[2]))
    with pytest.warns(RuntimeWarning, match=r"inter_synthesis: tuning .* \d+ times with sums that had outgrown"):
        after = tuned(before, profile.path(name), calls[name], Tuning(steps=20, rate=4e-4))
    for one, other in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


@pytest.mark.parametrize("number", [0, 3], ids=["key", "inter in signed 8 bits"])
def test_engines_are_made_of_it_and_compared_to_the_bit(profile: Profile, made: list[Path], number: int, tmp_path: Path
                                                        ) -> None:
    name = KINDS[number][0]
    sizes = tuple(sorted(profile.manifest["sizes"].items()))
    job = Job(name, str(made[number]), True, sizes, 1, 2, 3, 0, MACHINE,
              str(tmp_path / "timing"), str(tmp_path / "engine"))
    assert job.identity().precision == ("fp32" if number == 0 else "int8")
    onnx.save_model(onnx.load_model_from_string(job.graph()), str(tmp_path / "engine.onnx"))
    network, engine = CpuBackend(1).load(made[number]), CpuBackend(1).load(tmp_path / "engine.onnx")
    wanted = golden(name, network, 1, 2, exact=True, sizes=sizes)
    found = [engine(**inputs) for inputs in wanted.inputs()]
    assert wanted.problem(found, "int8") == ""
    assert "differs from the integers of the CPU" in wanted.problem([[one[0] + 0.25 / 64] for one in found], "int8")


def test_an_exact_network_other_than_of_the_state_has_no_engine_in_8_bits(made: list[Path]) -> None:
    job = Job("key_hyper", str(made[3]), True, (), 1, 2, 3, 0, MACHINE, "", "")
    with pytest.raises(EngineError, match="key_hyper: computes in int8; exact networks have to be float32"):
        job.identity()


def test_large_convolutions_inside_are_in_8_bits_and_depthwise_ones_are_not(made: list[Path]) -> None:
    graph = onnx.load(str(made[2])).graph
    narrow = {c.name for c in graph.initializer if c.data_type == onnx.TensorProto.INT8 and len(c.dims) == 4}
    kernels = {c.name: list(c.dims) for c in graph.initializer if len(c.dims) == 4}
    assert len(narrow) == 12 and all(kernels[name][2:] == [1, 1] for name in narrow)
    assert sorted(kernels[name][:2] for name in kernels.keys() - narrow) == [
        [48, 96], [64, 128], [64, 192], [96, 1], [96, 1], [96, 112], [192, 1], [192, 1], [192, 1]]  # two are tables


def test_blocks_are_moved_as_runs_of_channels_and_not_a_number_changes(
        profile: Profile, calls: dict[str, list[Sample]], made: list[Path]) -> None:
    before, after = (onnx.load(str(made[number])) for number in (2, 4))
    kinds = [[node.op_type for node in model.graph.node] for model in (before, after)]
    assert [kind.count("DepthToSpace") for kind in kinds] == [1, 0]
    assert [kind.count("Transpose") for kind in kinds] == [0, 3]
    networks = [CpuBackend(1).load(made[number]) for number in (2, 4)]
    for one in inputs_of(profile, "inter_synthesis", calls):
        two = {name: np.concatenate([value, value[::, ::, ::-1]]) if value.ndim > 1 else value
               for name, value in one.items()}
        for inputs in (one, two):
            first, second = (network(**inputs)[0] for network in networks)
            assert np.array_equal(first, second)


def test_a_network_without_such_blocks_stays_as_it_is(made: list[Path]) -> None:
    model = onnx.load(str(made[0]))
    assert rearranged(model, "previous").SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True)


@pytest.mark.parametrize("where", ["sum", "integers", "value", "weights", "output"])
def test_blocks_that_something_else_reads_on_the_way_stay(made: list[Path], where: str) -> None:
    model = onnx.load(str(made[2]))
    makers = {name: node for node in model.graph.node for name in node.output}
    (blocks,) = (node for node in model.graph.node if node.op_type == "DepthToSpace")
    dequantiser = makers[blocks.input[0]]
    quantiser = makers[dequantiser.input[0]]
    convolution = makers[quantiser.input[0]]
    read = {"sum": convolution.output[0], "integers": quantiser.output[0], "value": dequantiser.output[0],
            "weights": makers[convolution.input[1]].input[0], "output": dequantiser.output[0]}[where]
    if where == "output":
        model.graph.output.append(helper.make_tensor_value_info(read, onnx.TensorProto.FLOAT, [None] * 4))
    else:
        model.graph.node.append(helper.make_node("Identity", [read], ["other"]))
    after = rearranged(model, "previous")
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in model.graph.node]
    assert after.graph.initializer == model.graph.initializer


def test_blocks_of_another_kind_are_refused(made: list[Path]) -> None:
    model = onnx.load(str(made[2]))
    node = next(node for node in model.graph.node if node.op_type == "DepthToSpace")
    next(a for a in node.attribute if a.name == "mode").s = b"DCR"
    with pytest.raises(ValueError, match=r"is DepthToSpace .*b'DCR'.* of Conv; expected blocks of 2, mode CRD"):
        rearranged(model, "previous")


def test_a_float_network_is_not_taken_for_an_exact_one(profile: Profile) -> None:
    for name in ("key_synthesis", "inter_synthesis"):
        with pytest.raises(ValueError, match=rf"{name}: .* \((Mul|Conv|Cast)\)|{name}: .* is made by Cast"):
            proven(onnx.load(str(profile.path(name))))


def changed(path: Path, name: str, value: Any) -> onnx.ModelProto:
    model = onnx.load(str(path))
    (constant,) = (c for c in model.graph.initializer if c.name == name)
    constant.CopyFrom(numpy_helper.from_array(np.asarray(value(numpy_helper.to_array(constant))), name))
    return model


def test_a_proof_names_the_sum_that_needs_too_many_bits(made: list[Path]) -> None:
    graph = onnx.load(str(made[0])).graph
    node = next(node for node in graph.node if node.op_type == "Conv")
    with pytest.raises(ValueError, match=rf"key_synthesis: {node.output[0]} \(Conv\) may sum up to 2[4-9]\.\d\d bits; "
                                         "24 can be added up in any order"):
        proven(changed(made[0], node.input[1], lambda w: 16 * w))
    with pytest.raises(ValueError, match=rf"{node.output[0]} \(Conv\) may sum up to"):
        proven(changed(made[0], node.input[1], lambda w: w * np.float32(1 / 3)))


def test_a_proof_refuses_steps_that_are_no_powers_of_two(made: list[Path]) -> None:
    node = next(node for node in onnx.load(str(made[2])).graph.node if node.op_type == "QuantizeLinear")
    with pytest.raises(ValueError, match=r"\(QuantizeLinear\) has a step or factor of .*; expected a power of two"):
        proven(changed(made[2], node.input[1], lambda step: step * np.float32(1.5)))


def test_a_proof_refuses_products_that_would_be_rounded(made: list[Path]) -> None:
    (table,) = (c.name for c in onnx.load(str(made[0])).graph.initializer if "modulation" in c.name)
    with pytest.raises(ValueError, match=r"\(Mul\) is a product of 1\d\.\d\d and 24\.00 bits; 24 can be held"):
        proven(changed(made[0], table, lambda t: t * np.float32(1 / 3)))


def test_a_proof_refuses_a_rectifier_whose_products_would_be_rounded(made: list[Path]) -> None:
    model = onnx.load(str(made[2]))
    assert {a.f for n in model.graph.node if n.op_type == "LeakyRelu" for a in n.attribute} == {SLOPE}
    node = next(node for node in model.graph.node if node.op_type == "LeakyRelu")
    node.attribute[0].f = 0.1
    with pytest.raises(ValueError, match=r"\(LeakyRelu\) multiplies .* bits by a slope of 2[34]; 24 can be held"):
        proven(model)


def test_a_proof_refuses_weights_that_cpus_without_vnni_would_saturate_with(made: list[Path]) -> None:
    for number in (2, 3):
        graph = onnx.load(str(made[number])).graph
        name = next(c.name for c in graph.initializer if c.data_type == onnx.TensorProto.INT8 and len(c.dims) == 4)
        with pytest.raises(ValueError, match=r"has two weights of 129 together in a row; .* add products up exactly "
                                             "to 128"):
            proven(changed(made[number], name, pair_of_129))


def pair_of_129(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    found = np.array(weight)
    found[0, :2, 0, 0] = 65, -64
    return found


def test_a_network_without_samples_or_of_another_kind_is_refused(profile: Profile, calls: dict[str, list[Sample]]
                                                                 ) -> None:
    model = onnx.load(str(profile.path("inter_synthesis")))
    with pytest.raises(ValueError, match="inter_synthesis: no samples to calibrate with"):
        exact(model, [], None)
    other = onnx.load(str(profile.path("key_hyper")))
    inputs = exact_inputs("key_hyper", profile.manifest["sizes"], 1, 1, False)
    with pytest.raises(ValueError, match=r"key_hyper: .* has no exact form; expected a synthesis network"):
        exact(other, [inputs], None)


@pytest.mark.parametrize(("network", "saturate"), list(itertools.product(("key_synthesis", "inter_synthesis"),
                                                                         (False, True))))
def test_golden_inputs_of_a_synthesis_are_what_streams_may_hold(profile: Profile, network: str, saturate: bool) -> None:
    drawn = exact_inputs(network, profile.manifest["sizes"], 2, 3, saturate)
    assert drawn["decoded"].shape == (1, 128, 8, 12) and np.abs(drawn["decoded"]).max() <= 127 * 16
    if network == "inter_synthesis":
        assert drawn["previous"].shape == (1, 48, 16, 24) and np.abs(drawn["previous"]).max() <= 16
        assert saturate or not np.array_equal(64 * drawn["previous"], np.rint(64 * drawn["previous"]))
        coded = np.abs(drawn["symbols"]).max((0, 1)) > 0
        near = np.lib.stride_tricks.sliding_window_view(np.pad(coded, 1), (3, 3)).any((2, 3))
        assert near.any() and (saturate or not near.all())
