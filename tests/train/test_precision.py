"""Profiles at another precision: what may change does, what streams depend on does not."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from duoview import Decoder, Encoder, Profile, ProfileError
from duoview.backends import CpuBackend
from duoview.errors import EngineError
from duoview.export import variant
from duoview.export.calibration import Clip, samples
from duoview.export.engine_graph import engine_graph, precision_of
from duoview.export.half_precision import halved
from duoview.export.parity import difference, drawn_clip, report
from duoview.export.precision import ALL, PLANS, Plan, chosen, folded, quantised
from duoview.export.restore import restore
from duoview.export.torch_backend import TorchBackend
from duoview.export.variant import ENCODER_NETWORKS, Tolerance, rate_change, write_fp16, write_fp32, write_int8
from duoview.golden import exact_inputs
from duoview.pipelines.command import main
from duoview.precision_base import shared_networks
from duoview.profile import EXACT


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return drawn_clip()


@pytest.fixture(scope="module")
def int8(profile: Profile, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """Everything that is tried in 8 bits, whatever it costs: the drawn clip tells nothing of real pictures."""
    folder = tmp_path_factory.mktemp("int8")
    write_int8(profile, folder / "profile", [clip], [clip], Tolerance(bits=10.0, view=10.0), folder)
    return Profile(folder / "profile")


def operators(profile: Profile, network: str) -> set[str]:
    return {node.op_type for node in onnx.load(str(profile.path(network))).graph.node}


def test_networks_of_encoder_and_view_compute_in_8_bits_and_no_others_do(int8: Profile) -> None:
    inside = {name for name in int8.manifest["networks"] if "QuantizeLinear" in operators(int8, name)}
    assert inside == {*ENCODER_NETWORKS, "decoder"}


def test_what_streams_depend_on_is_the_same_to_the_byte(profile: Profile, int8: Profile) -> None:
    shared = shared_networks(profile.manifest)
    assert {*EXACT, "key_synthesis", "inter_synthesis"} <= set(shared)
    assert all(profile.path(name).read_bytes() == int8.path(name).read_bytes() for name in shared)
    assert all(result.passed for result in int8.verify())
    assert int8.sha256 != profile.sha256
    assert int8.stream_hash == profile.stream_hash


@pytest.mark.parametrize("name", EXACT)
def test_exact_networks_give_equal_integers_beside_8_bit_ones(profile: Profile, int8: Profile, name: str) -> None:
    backend = CpuBackend(1)
    base, ours = profile.load(name, backend), int8.load(name, backend)
    for height, width, saturate in ((9, 11, False), (4, 5, True)):
        inputs = exact_inputs(name, profile.manifest["sizes"], height, width, saturate)
        assert all(np.array_equal(a, b) for a, b in zip(base(**inputs), ours(**inputs), strict=True))


@pytest.mark.parametrize("encoding", ["base", "int8"])
def test_either_profile_decodes_what_the_other_encoded(profile: Profile, int8: Profile, clip: Clip,
                                                       encoding: str) -> None:
    by = {"base": profile, "int8": int8}
    first = clip.frames[0]
    encoder = Encoder(first.width, first.height, q=30, gop=8, profile=by[encoding], threads=1)
    packets = [packet for frame in clip.frames for packet in encoder.encode(frame)]
    for other in by.values():
        decoder = Decoder(profile=other, threads=1, strict=True)
        assert sum(len(decoder.decode(packet)) for packet in packets) == len(clip.frames)
        assert decoder.symbols_sha256() == encoder.symbols_sha256()


def test_a_profile_that_differs_from_its_base_where_streams_depend_is_refused(int8: Profile, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(int8.folder, folder)
    manifest = json.loads((folder / "profile.json").read_text())

    def written(**entries: Any) -> Path:
        (folder / "profile.json").write_text(json.dumps({**manifest, **entries}))
        return folder

    networks = {**manifest["networks"], "key_hyper": {**manifest["networks"]["key_hyper"], "sha256": "0" * 64}}
    with pytest.raises(ProfileError, match="differs from its base in key_hyper"):
        Profile(written(networks=networks))
    with pytest.raises(ProfileError, match="differs from its base in motion"):
        Profile(written(motion={"file": "motion.npz", "sha256": "0" * 64}))
    with pytest.raises(ProfileError, match="differs from its base in tables"):
        Profile(written(tables={"file": "tables.npz", "sha256": "0" * 64}))
    with pytest.raises(ProfileError, match="expected a file in"):
        Profile(written(base={**manifest["base"], "file": "../base.json"}))
    with pytest.raises(ProfileError, match="the manifest says"):
        Profile(written(base={**manifest["base"], "sha256": "0" * 64}))
    with pytest.raises(ProfileError, match="unusable base"):
        Profile(written(base={}))
    (folder / "base.json").unlink()
    with pytest.raises(ProfileError, match="cannot read the manifest of its base"):
        Profile(written())


def test_training_does_not_go_on_from_weights_in_8_bits(int8: Profile) -> None:
    with pytest.raises(ProfileError, match="expected the profile that it was exported from"):
        restore(int8.folder)


def test_float32_weights_compute_the_same_numbers(profile: Profile, tmp_path: Path) -> None:
    write_fp32(profile, tmp_path / "wide")
    wide = Profile(tmp_path / "wide")
    assert "Cast" in operators(profile, "decoder")
    kinds = {constant.data_type for constant in onnx.load(str(wide.path("key_analysis"))).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in kinds
    z = np.random.default_rng(1).normal(size=(1, wide.sizes.latent, 16, 24)).astype(np.float32)
    for name, inputs in (("decoder", {"z": z}), ("key_analysis", {"z": z, "q": np.array([20])})):
        expected, found = (p.load(name, CpuBackend(1))(**inputs) for p in (profile, wide))
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_plans_take_fewer_convolutions_one_after_another(profile: Profile) -> None:
    model = onnx.load(str(profile.path("inter_analysis")))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}.{number}"
    taken = [set(chosen(model, plan)) for plan in (ALL, *PLANS)]
    assert all(more > fewer for more, fewer in itertools.pairwise(taken))


@pytest.fixture(scope="module")
def fp16(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, list[variant.Trial]]:
    folder = tmp_path_factory.mktemp("fp16")
    _, trials = write_fp16(profile, folder / "profile", [], Tolerance(), folder)
    return Profile(folder / "profile"), trials


def test_float16_reaches_every_free_network_and_none_that_streams_depend_on(
        profile: Profile, fp16: tuple[Profile, list[variant.Trial]]) -> None:
    made, trials = fp16
    halves = {name for name in made.manifest["networks"] if precision_of(onnx.load(str(made.path(name)))) == "fp16"}
    assert halves == {*ENCODER_NETWORKS, "decoder", "denoiser", "saliency", "texture_analysis",
                      *filter(profile.has, ("human_decoder",))}
    assert all(profile.path(name).read_bytes() == made.path(name).read_bytes()
               for name in shared_networks(profile.manifest))
    assert [(trial.bits, trial.view, trial.accepted) for trial in trials] == [(None, None, True)] * len(halves)


def test_float16_weights_are_those_of_the_profile(profile: Profile, fp16: tuple[Profile, list[variant.Trial]]) -> None:
    stored, computed = ({constant.raw_data for constant in onnx.load(str(one.path("decoder"))).graph.initializer
                         if constant.data_type == onnx.TensorProto.FLOAT16} for one in (profile, fp16[0]))
    assert stored and stored == computed


def test_a_profile_in_float16_agrees_with_torch_and_decodes_streams_of_its_base(
        profile: Profile, clip: Clip, fp16: tuple[Profile, list[variant.Trial]]) -> None:
    made, _ = fp16
    found = report(made)
    # The text encoder of captions is a table and a few sums: it stays as it is.
    assert {item.kind for item in found if item.network != "caption"} == {"exact", "fp16", "rounded"}
    assert all(item.passed for item in found), [item for item in found if not item.passed]
    encoder = Encoder(clip.frames[0].width, clip.frames[0].height, q=30, gop=8, profile=profile, threads=1)
    decoder = Decoder(profile=made, device=TorchBackend(), strict=True)
    for frame in clip.frames:
        for packet in encoder.encode(frame):
            assert decoder.decode(packet)
    assert decoder.symbols_sha256() == encoder.symbols_sha256()


def test_float16_is_judged_by_torch_where_there_are_clips(profile: Profile, clip: Clip, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "has_convolutions", lambda _, name: name in ("encoder", "decoder"))
    _, trials = write_fp16(profile, tmp_path / "profile", [clip], Tolerance(bits=0.05, view=45.0), tmp_path)
    encoder, decoder = trials
    assert encoder.bits is not None and abs(encoder.bits) < 0.05 and encoder.accepted
    assert decoder.view is not None and 45 < decoder.view < 70 and decoder.accepted


def test_weights_that_float16_cannot_hold_are_refused(profile: Profile) -> None:
    model = folded(onnx.load(str(profile.path("decoder"))))
    weight = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    for constant in model.graph.initializer:
        if constant.name == weight:
            constant.CopyFrom(numpy_helper.from_array(np.full(tuple(constant.dims), 1e6, np.float32), weight))
    with pytest.raises(ValueError, match=r"decoder: cast_\d+ has values that float16 cannot hold"):
        halved(model)


def test_signed_8_bits_are_what_tensorrt_takes_and_others_are_not(profile: Profile, clip: Clip) -> None:
    calls = samples(profile, [clip])["decoder"]
    model = onnx.load(str(profile.path("decoder")))
    graph = engine_graph(quantised(model, calls, PLANS[1], signed=True))
    assert "QuantizeLinear" in {node.op_type for node in graph.graph.node}
    with pytest.raises(EngineError, match=r"zero points, which TensorRT does not take; .* -signed"):
        engine_graph(quantised(model, calls, PLANS[1]))


def test_a_plan_that_cannot_be_made_or_judged_is_refused_and_the_next_is_tried(
        profile: Profile, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_common_range(base: variant.Curve, other: variant.Curve) -> float:
        raise ValueError("no PSNR in common: ...")

    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ("encoder",))
    monkeypatch.setattr(variant, "PLANS", (Plan("none", ends=False, depthwise=True, branches=False), PLANS[-1]))
    monkeypatch.setattr(variant, "rate_change", no_common_range)
    made = variant.quantised

    def quantised_unless_none(model: onnx.ModelProto, samples: Any, plan: Plan, *, signed: bool, clipped: bool
                              ) -> onnx.ModelProto:
        if plan.name == "none":
            raise ValueError("plan 'none' takes none of its convolutions")
        return made(model, samples, plan, signed=signed, clipped=clipped)

    monkeypatch.setattr(variant, "quantised", quantised_unless_none)
    _, trials = write_int8(profile, tmp_path / "profile", [clip], [clip], Tolerance(view=10.0), tmp_path)
    assert [(trial.network, trial.plan, trial.accepted) for trial in trials] == [
        ("encoder", "none", False), ("encoder", "pointwise", False), ("decoder", "none", False),
        ("decoder", "pointwise", True)]
    assert [trial.refused for trial in trials] == [
        "plan 'none' takes none of its convolutions", "no PSNR in common: ...",
        "plan 'none' takes none of its convolutions", ""]


def test_the_strictest_tolerance_leaves_every_network_as_it_is(profile: Profile, clip: Clip, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ("encoder",))
    monkeypatch.setattr(variant, "PLANS", PLANS[-2:])
    _, trials = write_int8(profile, tmp_path / "profile", [clip], [clip], Tolerance(bits=-10.0, view=200.0), tmp_path)
    written = Profile(tmp_path / "profile")
    assert [(trial.network, trial.plan) for trial in trials] == [
        ("encoder", "large"), ("decoder", "large")]  # of these two the other plan takes the same
    assert not any(trial.accepted for trial in trials)
    assert written.manifest["networks"] == profile.manifest["networks"]


def test_calibration_without_samples_is_an_error(profile: Profile) -> None:
    with pytest.raises(ValueError, match="no samples to calibrate with"):
        quantised(onnx.load(str(profile.path("encoder"))), [], PLANS[0])


def test_rate_change_is_what_a_curve_was_moved_by() -> None:
    base = [(1000.0, 25.0), (2000.0, 29.0), (4000.0, 33.0)]
    assert rate_change(base, base) == pytest.approx(0)
    assert rate_change(base, [(1.05 * size, db) for size, db in base]) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no PSNR in common"):
        rate_change(base, [(size, db + 20) for size, db in base])


def test_torch_agrees_with_onnxruntime_on_every_network_within_the_stated_tolerance(profile: Profile, int8: Profile
                                                                                    ) -> None:
    for one in (profile, int8):
        found = report(one)
        assert {item.network for item in found} == set(one.manifest["networks"])
        assert all(item.passed for item in found), [item for item in found if not item.passed]
    assert {item.kind for item in found} == {"exact", "float", "rounded", "int8", "int8 hyper"}
    assert {item.network: item.tolerance for item in found if item.kind.startswith("int8")} == {
        "encoder": 0.05, "decoder": 0.05, "key_analysis": 0.15, "inter_analysis": 0.15}


def test_the_parity_report_sees_a_network_that_is_off(profile: Profile, clip: Clip) -> None:
    call = samples(profile, [clip])["encoder"][0]
    (expected,) = TorchBackend().load(profile.path("encoder"))(**call)
    assert difference(expected, np.multiply(expected, 1.001)) == pytest.approx(1e-3, rel=1e-2)
    assert difference(expected, expected[..., 1:]) == float("inf")


def test_the_parity_report_sees_an_exact_network_that_is_off_for_large_integers(
        profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    load = TorchBackend.load

    def off(self: TorchBackend, path: Path) -> Any:
        network = load(self, path)
        if path.stem != "texture_prior":
            return network
        return lambda **inputs: [value + (max(np.abs(one).max() for one in inputs.values()) > 100)
                                 for value in network(**inputs)]

    monkeypatch.setattr(TorchBackend, "load", off)
    assert [item.network for item in report(profile) if not item.passed] == ["texture_prior"]


def test_the_command_writes_a_profile_and_checks_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-precision", "fp32", str(tmp_path / "wide")]) == 0
    assert "at fp32, sha256" in capsys.readouterr().out
    assert main(["export", "-check", "-of", "json", "-profile", str(tmp_path / "wide")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert all(item["error"] <= item["tolerance"] for item in document["networks"])


@pytest.mark.parametrize(("words", "said"), [
    ([], "either -precision"),
    (["-precision", "int8", "out"], "-i FILE to calibrate with"),
    (["-precision", "fp32"], "the output folder is missing"),
    (["-precision", "fp16", "-i", "a.mp4", "out"], "-i: belongs to -precision int8"),
    (["-precision", "fp16", "-signed", "out"], "-signed: belongs to -precision int8"),
    (["-check", "out"], "-check takes no output"),
])
def test_the_command_says_what_is_missing(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *words]) == 2
    assert said in capsys.readouterr().err


def test_what_can_be_refused_is_refused_before_the_search(profile: Profile, int8: Profile, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(variant.Search, "run", lambda self: pytest.fail("the search has begun"))
    (tmp_path / "file").write_text("")
    for base, output, said in ((int8.folder, tmp_path / "x", "is at another precision itself"),
                               (profile.folder, profile.folder, "is that of the profile it is made of"),
                               (profile.folder, tmp_path / "file", "is a file; expected a folder"),
                               (profile.folder, Path("/proc/none"), "nothing can be written there")):
        words = ["export", "-profile", str(base), "-precision", "int8", "-i", "a.mp4", "-held", "b.mp4", str(output)]
        assert main(words) == 1
        assert said in capsys.readouterr().err


def test_a_missing_input_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "-precision", "int8", "-i", "nowhere.mp4", "-held", "other.mp4", str(tmp_path / "out")]
    assert main(words) == 1
    assert "nowhere.mp4: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_clips_to_judge_with_must_be_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-precision", "int8", "-i", "a.mp4", "-held", "a.mp4", str(tmp_path / "out")]) == 1
    assert "expected others to judge with" in capsys.readouterr().err
