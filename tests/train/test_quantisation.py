"""What makes 8 bits go further: channels of like ranges, ranges of least error, a synthesis with its own streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from duoview import Decoder, Encoder, Profile, ProfileError
from duoview.access_unit import SectionType, parse
from duoview.backends import CpuBackend
from duoview.export import variant
from duoview.export.activation_ranges import activation_ranges, least_error_range
from duoview.export.calibration import Clip, samples
from duoview.export.equalisation import Sample, channel_ranges, equalised, pairs, streams
from duoview.export.parity import difference, drawn_clip
from duoview.export.precision import ALL, PLANS, folded, quantised
from duoview.export.torch_backend import TorchBackend
from duoview.export.variant import Tolerance, write_int8
from duoview.machine import MachineLayer
from duoview.pipelines.command import main
from duoview.profile import EXACT


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return drawn_clip(frames=2, width=128, height=80)


@pytest.fixture(scope="module")
def calls(profile: Profile, clip: Clip) -> dict[str, list[Sample]]:
    return {name: list(found) for name, found in samples(profile, [clip]).items()}


def wide(profile: Profile, network: str) -> onnx.ModelProto:
    return folded(onnx.load(str(profile.path(network))))


def outputs(model: onnx.ModelProto, sample: Sample, path: Path) -> list[np.ndarray]:
    onnx.save(model, str(path))
    return CpuBackend(1).load(path)(**sample)


@pytest.mark.parametrize("network", ["encoder", "inter_analysis", "inter_synthesis", "decoder"])
def test_an_equalised_network_computes_the_same_numbers(profile: Profile, calls: dict[str, list[Sample]], network: str,
                                                        tmp_path: Path) -> None:
    model = wide(profile, network)
    made = equalised(model, calls[network])
    changed = {constant.name for a, constant in zip(model.graph.initializer, made.graph.initializer, strict=True)
               if a.raw_data != constant.raw_data}
    assert len(changed) > 10
    expected, found = (outputs(one, calls[network][-1], tmp_path / "one.onnx") for one in (model, made))
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_equalised_channels_have_more_of_the_common_range(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    model = wide(profile, "inter_analysis")
    made = equalised(model, calls["inter_analysis"])
    tensors = [pair.tensor for pair in pairs(model)]
    assert len(tensors) == 8 and len(streams(model)) == 1

    def used(one: onnx.ModelProto) -> float:
        ranges = channel_ranges(one, tensors, calls["inter_analysis"])
        return float(np.mean([np.median(found) / found.max() for found in ranges.values()]))

    assert used(made) > 1.5 * used(model)
    assert used(equalised(model, calls["inter_analysis"], parts=8)) > 1.05 * used(made)


def test_factors_between_powers_of_two_change_a_rounding_of_the_state_at_most(
        profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path) -> None:
    model, sample = wide(profile, "inter_synthesis"), calls["inter_synthesis"][-1]
    expected, found = (outputs(one, sample, tmp_path / "one.onnx")
                       for one in (model, equalised(model, calls["inter_synthesis"], parts=8)))
    for a, b in zip(expected, found, strict=True):
        assert np.abs(a - b).max() <= 1 / 64 and (a != b).mean() < 0.01


def constant(name: str, *shape: int) -> onnx.TensorProto:
    """Drawn, with a first row that is a hundred times as large: something to equalise."""
    values = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
    values[0] *= 100
    return numpy_helper.from_array(values, name)


def graph(nodes: list[onnx.NodeProto], *shown: str) -> onnx.ModelProto:
    """From x of 2 channels to what is shown; constants w, ww and www are pointwise weights, b and bb biases."""
    weights = [constant(name, 2, 2, 1, 1) for name in ("w", "ww", "www")]
    used = {name for node in nodes for name in node.input}
    constants = [one for one in (*weights, constant("b", 2), constant("bb", 2)) if one.name in used]
    value = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("x", *shown)}
    made = helper.make_graph(nodes, "drawn", [value["x"]], [value[name] for name in shown], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


X: Sample = {"x": np.random.default_rng(5).normal(size=(1, 2, 4, 4)).astype(np.float32)}


def conv(*names: str, made: str) -> onnx.NodeProto:
    return helper.make_node("Conv", list(names), [made])


def test_what_somebody_else_reads_is_not_scaled() -> None:
    nodes = [conv("x", "w", "b", made="y"), conv("y", "ww", "bb", made="z")]
    assert [pair.tensor for pair in pairs(graph(nodes, "z"))] == ["y"]
    assert pairs(graph(nodes, "y", "z")) == []


def test_convolutions_that_share_weights_are_left_alone(tmp_path: Path) -> None:
    model = graph([conv("x", "w", "b", made="y"), conv("y", "w", "bb", made="z")], "z")
    made = equalised(model, [X])
    assert np.array_equal(outputs(model, X, tmp_path / "one.onnx")[0], outputs(made, X, tmp_path / "two.onnx")[0])


def test_convolutions_without_a_bias_are_equalised(tmp_path: Path) -> None:
    model = graph([conv("x", "w", made="y"), conv("y", "ww", made="z")], "z")
    made = equalised(model, [X])
    assert made.graph.initializer != model.graph.initializer
    assert np.array_equal(outputs(model, X, tmp_path / "one.onnx")[0], outputs(made, X, tmp_path / "two.onnx")[0])


def test_a_sum_that_is_multiplied_with_itself_is_left_alone(tmp_path: Path) -> None:
    def added(*multiplied: str) -> onnx.ModelProto:
        nodes = [conv("x", "w", "b", made="y"), conv("x", "ww", made="u"), helper.make_node("Add", ["y", "u"], ["v"]),
                 helper.make_node("Mul", list(multiplied), ["p"]), conv("p", "www", made="z")]
        return graph(nodes, "z")

    assert len(streams(added("v", "b2"))) == 1
    model = added("v", "v")
    assert streams(model) == []
    made = equalised(model, [X])
    assert np.array_equal(outputs(model, X, tmp_path / "one.onnx")[0], outputs(made, X, tmp_path / "two.onnx")[0])


def test_a_range_leaves_out_what_is_rare_and_far() -> None:
    values = np.random.default_rng(1).normal(0, 1, 200_000).astype(np.float32)
    low, high = least_error_range(np.append(values, np.float32(10)))
    assert 4 < high < 8 and -6 < low < -3
    assert least_error_range(values)[1] > 0.65 * values.max()


def test_a_range_before_a_leaky_rectifier_is_mostly_positive() -> None:
    values = np.random.default_rng(2).normal(0, 1, 50_000).astype(np.float32)
    straight, leaky = least_error_range(values), least_error_range(values, slope=0.1)
    assert leaky[0] > straight[0] and leaky[1] >= 0.7 * straight[1]


def test_a_range_of_zeros_is_what_it_is() -> None:
    assert least_error_range(np.zeros(10, np.float32)) == (0.0, 0.0)


def test_ranges_without_samples_are_an_error(profile: Profile) -> None:
    with pytest.raises(ValueError, match="no samples to calibrate with"):
        activation_ranges(wide(profile, "encoder"), set(), [])
    with pytest.raises(ValueError, match="no samples to calibrate with"):
        equalised(wide(profile, "encoder"), [])


@pytest.mark.parametrize(("network", "share"), [("key_analysis", 0.85), ("inter_analysis", 1.0)])
def test_both_steps_bring_an_analysis_in_8_bits_nearer_to_float32(
        profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str,
        share: float) -> None:
    model, given = onnx.load(str(profile.path(network))), calls[network]
    ours = quantised(model, given, PLANS[1])
    monkeypatch.setattr("duoview.export.precision.equalised", lambda one, _: one)
    plain = quantised(model, given, PLANS[1], clipped=False)
    off = np.zeros(2)
    for sample in given:
        expected, *made = (outputs(one, sample, tmp_path / "one.onnx")[0] for one in (model, ours, plain))
        off += [difference(expected, one) for one in made]
    assert off[0] < share * off[1]


def test_weights_have_7_bits_so_that_no_cpu_saturates(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    made = quantised(onnx.load(str(profile.path("encoder"))), calls["encoder"], ALL)
    weights = [numpy_helper.to_array(constant) for constant in made.graph.initializer if len(constant.dims) == 4]
    narrow = [weight for weight in weights if weight.dtype == np.int8]
    assert len(narrow) == 11 and max(int(np.abs(weight.astype(int)).max()) for weight in narrow) == 64


@pytest.fixture(scope="module")
def own(profile: Profile, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "ENCODER_NETWORKS", ("encoder",))
        patch.setattr(variant, "PLANS", PLANS[1:2])
        patch.setattr(variant, "TIMED_CALLS", 1)
        _, trials = write_int8(profile, folder / "profile", [clip], [clip], Tolerance(bits=10.0, view=10.0), folder,
                               state=True)
    assert [(trial.network, trial.plan) for trial in trials if trial.accepted] == [
        ("inter_synthesis", "exact large"), ("key_synthesis", "exact"), ("encoder", "pointwise"),
        ("decoder", "pointwise"),
        *((name, "the same in 8 bits") for name in ("key_hyper", "key_context", "inter_hyper", "inter_context"))]
    return Profile(folder / "profile")


def test_a_synthesis_in_8_bits_makes_a_profile_with_streams_of_its_own(profile: Profile, own: Profile) -> None:
    assert own.name == "s-int8" and "base" not in own.manifest
    kinds = own.manifest["precision"]["networks"]
    assert (kinds["inter_synthesis"], kinds["key_synthesis"]) == ("exact, int8", "exact")
    assert own.stream_hash != profile.stream_hash
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(str(own.path("inter_synthesis"))).graph.node}
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(str(own.path("key_synthesis"))).graph.node}
    assert set(own.manifest["golden"]) == {*profile.manifest["golden"], "key_synthesis", "inter_synthesis"}
    for name in ("key_hyper", "key_context", "inter_hyper", "inter_context"):
        assert kinds[name] == "the same, int8" and own.manifest["golden"][name] == profile.manifest["golden"][name]
        assert own.path(name).read_bytes() != profile.path(name).read_bytes()
    checked = own.verify()
    assert {one.network for one in checked} == set(own.manifest["golden"]) and all(one.passed for one in checked)
    assert not (own.folder / "base.json").exists()


def test_its_streams_decode_with_it_on_every_backend_and_with_nothing_else(own: Profile, clip: Clip) -> None:
    first = clip.frames[0]
    encoder = Encoder(first.width, first.height, q=30, gop=8, profile=own, threads=1)
    packets = [packet for frame in clip.frames for packet in encoder.encode(frame)]
    states = []
    for backend in (CpuBackend(1), CpuBackend(2), CpuBackend(1, optimise="none"), TorchBackend()):
        decoder = Decoder(profile=own, device=backend, strict=True)
        assert sum(len(decoder.decode(packet)) for packet in packets) == len(clip.frames)
        assert decoder.symbols_sha256() == encoder.symbols_sha256()
        layer = MachineLayer(own, backend, encode=False)
        for packet in packets:
            unit = parse(bytes(packet))
            payload = unit.payload(SectionType.MACHINE)
            assert payload is not None
            layer.decode(payload, key=unit.key, q=30, width=first.width, height=first.height)
        assert layer.z_m is not None
        states.append(layer.z_m)
    assert all(np.array_equal(state, states[0]) for state in states)
    with pytest.raises(ProfileError, match="s-int8"):
        Decoder(profile="s", strict=True).decode(packets[0])


class Off:
    """The CPU, but for one network, whose numbers are off."""

    name = "off"

    def __init__(self, network: str, step: float) -> None:
        self.network, self.step = network, step

    def load(self, path: Path) -> Any:
        network = CpuBackend(1).load(path)
        if path.stem != self.network:
            return network
        return lambda **inputs: [network(**inputs)[0] + np.float32(self.step)]


@pytest.mark.parametrize("step", [1 / 64, 0.3 / 64, -0.9 / 64])
@pytest.mark.parametrize("network", ["key_synthesis", "inter_synthesis"])
def test_a_backend_that_hands_on_other_numbers_is_refused(profile: Profile, own: Profile, network: str, step: float
                                                          ) -> None:
    with pytest.raises(ProfileError, match=rf"backend 'off' does not compute {network} of profile 's-int8' exactly "
                                           r"\(golden case 1x1\); streams would not be decoded as they were encoded"):
        own.load(network, Off(network, step))
    profile.load(network, Off(network, step))  # nothing is said of its numbers there


def test_what_is_handed_on_is_exact_in_both_networks_or_in_none(profile: Profile, clip: Clip, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ())
    monkeypatch.setattr(variant, "PLANS", ())
    monkeypatch.setattr(variant, "TIMED_CALLS", 1)

    def refused(model: onnx.ModelProto) -> None:
        if model.graph.name == "key_synthesis":
            raise ValueError("key_synthesis: sums too large")

    monkeypatch.setattr(variant, "proven", refused)
    _, trials = write_int8(profile, tmp_path / "out", [clip], [clip], Tolerance(bits=10.0), tmp_path, state=True)
    assert [(trial.network, trial.accepted, trial.refused) for trial in trials] == [
        ("inter_synthesis", False, "the other network that makes what is handed on could not be taken"),
        ("key_synthesis", False, "key_synthesis: sums too large")]
    made = Profile(tmp_path / "out")
    assert [one["accepted"] for one in json.loads((made.folder / "precision.json").read_text())] == [False, False]
    assert made.stream_hash == profile.stream_hash and made.manifest["golden"] == profile.manifest["golden"]
    assert made.path("inter_synthesis").read_bytes() == profile.path("inter_synthesis").read_bytes()


def test_key_frames_are_not_tried_where_p_frames_hand_on_other_numbers(
        profile: Profile, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ())
    monkeypatch.setattr(variant, "PLANS", ())
    still = Clip("still", clip.frames[:1], clip.pixels[:1])
    _, trials = write_int8(profile, tmp_path / "out", [clip], [still], Tolerance(), tmp_path, state=True)
    assert [(trial.network, trial.accepted) for trial in trials] == [("inter_synthesis", False),
                                                                     ("key_synthesis", False)]
    assert "only P frames call it" in trials[0].refused
    assert trials[1].refused == "the other network that makes what is handed on could not be taken"


@pytest.mark.parametrize("signed", [False, True])
def test_exact_networks_stay_in_float32_where_tensorrt_wants_them_or_they_cannot_be_made(
        profile: Profile, own: Profile, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool
        ) -> None:
    def refused(model: onnx.ModelProto) -> None:
        raise ValueError(f"{model.graph.name}: sums too large")

    state = {name: own.path(name) for name in ("inter_synthesis", "key_synthesis")}
    monkeypatch.setattr(variant.Search, "run", lambda self: state)
    monkeypatch.setattr(variant, "exact_in_8_bits", refused)
    _, trials = write_int8(profile, tmp_path, [clip], [clip], Tolerance(), tmp_path, state=True, signed=signed)
    made = Profile(tmp_path)
    assert all(made.path(name).read_bytes() == profile.path(name).read_bytes() for name in EXACT)
    assert [(trial.network, trial.accepted, trial.refused) for trial in trials] == (
        [] if signed else [(name, False, f"{name}: sums too large") for name in EXACT])


def test_what_does_not_give_the_integers_of_an_exact_network_is_not_written(
        profile: Profile, own: Profile, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {name: own.path(name) for name in ("inter_synthesis", "key_synthesis")}
    monkeypatch.setattr(variant.Search, "run", lambda self: state)
    monkeypatch.setattr(variant, "exact_in_8_bits", lambda model: onnx.load(
        str(profile.path("inter_context" if model.graph.name == "key_context" else model.graph.name))))
    with pytest.raises(ValueError, match=r"key_context\.onnx: does not give the integers of .*key_context\.onnx"):
        write_int8(profile, tmp_path, [clip], [clip], Tolerance(), tmp_path, state=True)


def test_it_may_be_copied_over_a_profile_that_had_a_base(profile: Profile, own: Profile, clip: Clip, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    variant.write_fp32(profile, tmp_path)
    assert (tmp_path / "base.json").exists()
    state = {name: own.path(name) for name in ("inter_synthesis", "key_synthesis")}
    monkeypatch.setattr(variant.Search, "run", lambda self: state)
    write_int8(profile, tmp_path, [clip], [clip], Tolerance(), tmp_path, state=True)
    assert not (tmp_path / "base.json").exists()
    assert json.loads((tmp_path / "profile.json").read_text())["name"] == "s-int8"


def test_nothing_is_exported_of_a_profile_that_is_at_another_precision_itself(own: Profile, clip: Clip, tmp_path: Path
                                                                              ) -> None:
    with pytest.raises(ValueError, match="is at another precision itself; export from the profile it was made of"):
        write_int8(own, tmp_path / "out", [clip], [clip], Tolerance(), tmp_path)
    with pytest.raises(ValueError, match="is at another precision itself; export from the profile it was made of"):
        variant.write_fp32(own, tmp_path / "out")


def test_state_belongs_to_8_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-precision", "fp16", "-state", "out"]) == 2
    assert "-state: belongs to -precision int8" in capsys.readouterr().err
