"""Networks in 8 bits, tuned: nearer to the float network, in a file that computes what was tuned."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.export import scenes, tuning, variant
from duoview.export.calibration import LEAST_VIEW, PAN, distinct, files, in_motion, samples
from duoview.export.equalisation import Sample
from duoview.export.parity import drawn_clip
from duoview.export.precision import ALL, LARGE, PLANS, chosen, folded, quantised
from duoview.export.scenes import (
    CONTRAST,
    FRAMES,
    HIGH_QUALITY,
    LEAST_PART,
    LOW_QUALITY,
    SIDE,
    material,
    mix,
    recorded,
    stretched,
    switched,
)
from duoview.export.torch_backend import TorchNetwork
from duoview.export.tuning import HELD_EVERY, NARROW, WIDE, QuantisedNetwork, Tuning, tuned
from duoview.export.variant import Tolerance, write_int8
from duoview.models.data import Material
from duoview.pipelines.command import main
from duoview.pipelines.export import _tell_small

SHORT = Tuning(steps=40, rate=5e-4)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def calls(profile: Profile) -> dict[str, list[Sample]]:
    found = samples(profile, [drawn_clip(frames=4, width=128, height=80)])
    return {name: list(distinct(found[name])) for name in ("encoder", "inter_analysis", "inter_synthesis")}


def in_8_bits(profile: Profile, name: str, given: list[Sample], *, signed: bool = False) -> onnx.ModelProto:
    return quantised(onnx.load(str(profile.path(name))), given, ALL, signed=signed)


def error(model: onnx.ModelProto, profile: Profile, name: str, sample: Sample, folder: Path) -> float:
    """Mean squared error of the first output, by onnxruntime, against the float network."""
    onnx.save(model, str(folder / "one.onnx"))
    backend = CpuBackend(1)
    made, wanted = (backend.load(path)(**sample)[0] for path in (folder / "one.onnx", profile.path(name)))
    return float(np.square(made - wanted).mean())


@pytest.mark.parametrize("name", ["encoder", "inter_analysis", "inter_synthesis"])
def test_a_tuned_network_is_nearer_to_the_float_network(
        profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path, name: str) -> None:
    before = in_8_bits(profile, name, calls[name])
    after = tuned(before, profile.path(name), calls[name], SHORT)
    was, is_now = (sum(error(model, profile, name, one, tmp_path) for one in calls[name]) for model in (before, after))
    assert is_now < 0.9 * was


def test_symbols_that_8_bits_hit_by_chance_do_not_outweigh_the_rest(
        profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path) -> None:
    name = "inter_analysis"
    before = quantised(onnx.load(str(profile.path(name))), calls[name], LARGE)
    kept_back = {key: torch.from_numpy(value) for key, value in calls[name][0].items()}
    float_network = TorchNetwork(profile.path(name), torch.device("cpu"))
    with torch.no_grad():
        made, wanted = QuantisedNetwork(before, NARROW)(**kept_back), float_network.tensors(**kept_back)
    assert torch.equal(made[1], wanted[1].float())
    after = tuned(before, profile.path(name), calls[name], SHORT)
    was, is_now = (sum(error(model, profile, name, one, tmp_path) for one in calls[name]) for model in (before, after))
    assert is_now < 0.97 * was


def drawn(folder: Path) -> tuple[Path, onnx.ModelProto, list[Sample]]:
    """A float network of two outputs, the second always 0, as a file and in 8 bits, and its inputs."""
    generator = np.random.default_rng(3)
    weights = [numpy_helper.from_array(generator.normal(size=(4, 4, 1, 1)).astype(np.float32), name) for name in "vw"]
    biases = [numpy_helper.from_array(generator.normal(size=4).astype(np.float32), name) for name in "bc"]
    nothing = numpy_helper.from_array(np.array(1e-6, np.float32), "nothing")
    settings = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "group": 1}
    nodes = [helper.make_node("Conv", ["x", "v", "b"], ["y"], **settings), helper.make_node("Relu", ["y"], ["r"]),
             helper.make_node("Conv", ["r", "w", "c"], ["z"], **settings),
             helper.make_node("Mul", ["z", "nothing"], ["s"]), helper.make_node("Round", ["s"], ["symbols"])]
    shape = [1, 4, 8, 8]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "z", "symbols")]
    graph = helper.make_graph(nodes, "drawn", values[:1], values[1:], [*weights, *biases, nothing])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    given: list[Sample] = [{"x": generator.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(12)]
    onnx.save(model, str(folder / "float.onnx"))
    return folder / "float.onnx", quantised(model, given, ALL), given


def test_on_samples_kept_back_it_is_never_farther_than_it_was(tmp_path: Path) -> None:
    base, model, given = drawn(tmp_path)
    float_network = TorchNetwork(base, torch.device("cpu"))

    def kept_back(made: onnx.ModelProto) -> float:
        network, errors = QuantisedNetwork(made, NARROW), []
        for sample in given[::HELD_EVERY]:
            tensors = {key: torch.from_numpy(value) for key, value in sample.items()}
            with torch.no_grad():
                errors.append(float((network(**tensors)[0] - float_network.tensors(**tensors)[0]).square().mean()))
        return float(np.mean(errors))

    was = kept_back(model)
    rates = np.geomspace(1e-3, 0.1, 20)
    found = [kept_back(tuned(model, base, given, Tuning(steps=4, rate=float(rate)))) for rate in rates]
    assert max(found) < 1.001 * was and min(found) < was  # biases are rounded to steps when they are written


def test_a_tuning_gives_the_same_network_again(tmp_path: Path) -> None:
    base, model, given = drawn(tmp_path)
    once, again = (tuned(model, base, given, SHORT).SerializeToString() for _ in range(2))
    assert once == again != model.SerializeToString()


def test_weights_that_are_not_around_0_are_refused(tmp_path: Path) -> None:
    _, model, _ = drawn(tmp_path)
    (node,) = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0][0] == "v"]
    (zero,) = [one for one in model.graph.initializer if one.name == node.input[2]]
    zero.CopyFrom(numpy_helper.from_array(np.full(zero.dims, 3, np.int8), zero.name))
    with pytest.raises(ValueError, match="v_quantized has a zero point; expected weights around 0"):
        QuantisedNetwork(model, NARROW)


@pytest.mark.parametrize(("frames", "reason"), [((1, 2), "no samples to calibrate with"),
                                                ((2, 1), "what is judged with has none")])
def test_networks_of_p_frames_stay_as_they_are_without_p_frames(
        profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: tuple[int, int], reason: str
        ) -> None:
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ("inter_analysis",))  # the others take their time
    monkeypatch.setattr(variant, "STILL_FRAMES", 1)  # no view moves over a picture
    clips, held = ([drawn_clip(frames=count, width=128, height=80)] for count in frames)
    _, trials = write_int8(profile, tmp_path / "out", clips, held, Tolerance(bits=10.0, view=10.0), tmp_path)
    found = {(trial.accepted, reason in trial.refused) for trial in trials if trial.network == "inter_analysis"}
    assert found == {(False, True)}
    assert [trial.network for trial in trials if trial.accepted] == ["decoder"]


def test_tuning_without_torch_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                                                     ) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    given = ["export", "-precision", "int8", "-i", "a.mp4", "-held", "b.mp4", "out"]
    assert main(given) == 1
    assert "torch: not installed; pip install 'duoview[train]', or -tune 0, which needs none" in capsys.readouterr().err
    main([*given, "-tune", "0"])
    assert "a.mp4: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("signed", [False, True])
def test_the_file_computes_what_was_tuned(profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path, signed: bool
                                          ) -> None:
    name, sample = "inter_analysis", calls["inter_analysis"][-1]
    network = QuantisedNetwork(in_8_bits(profile, name, calls[name], signed=signed), WIDE if signed else NARROW)
    learned = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameters, share, shift in ((network.weights, 0.1, 0.0), (network.biases, 0.1, 0.05),
                                         (network.steps, 0.0, 0.2)):
            for value in parameters:
                value += (share * value.abs() + shift) * torch.randn(value.shape, generator=learned)
        expected = network(**{key: torch.from_numpy(value) for key, value in sample.items()})
    made = network.exported()
    stored = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    scales = {node.output[0]: stored[node.input[1]] for node in made.graph.node if node.op_type == "DequantizeLinear"}
    for convolution in (node for node in made.graph.node if node.input[-1] in scales and node.op_type == "Conv"):
        activation, weight, bias = (scales[one] for one in convolution.input)
        assert np.allclose(bias, activation * weight, rtol=1e-6)  # runtimes in integers take it for granted
    onnx.save(made, str(tmp_path / "one.onnx"))
    found = CpuBackend(1).load(tmp_path / "one.onnx")(**sample)
    for ours, theirs in zip(found, expected, strict=True):
        # Sums of floats in another order, biases in integers: now and then one more step of 8 bits.
        assert np.square(ours - theirs.numpy()).mean() < 1e-2 * np.square(ours).mean() + 1e-9


@pytest.mark.parametrize("signed", [False, True])
def test_gradients_are_taken_of_what_the_file_means(profile: Profile, calls: dict[str, list[Sample]], tmp_path: Path,
                                                    signed: bool) -> None:
    model = in_8_bits(profile, "inter_analysis", calls["inter_analysis"], signed=signed)
    onnx.save(model, str(tmp_path / "one.onnx"))
    given = {key: torch.from_numpy(value) for key, value in calls["inter_analysis"][-1].items()}
    found = QuantisedNetwork(model, WIDE if signed else NARROW)(**given)
    expected = TorchNetwork(tmp_path / "one.onnx", torch.device("cpu")).tensors(**given)
    assert all(torch.allclose(a, b.float(), rtol=1e-5, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_what_was_not_tuned_yet_computes_what_the_file_does(profile: Profile, calls: dict[str, list[Sample]],
                                                            tmp_path: Path) -> None:
    model, sample = in_8_bits(profile, "encoder", calls["encoder"]), calls["encoder"][0]
    with torch.no_grad():
        (found,) = QuantisedNetwork(model, NARROW)(**{key: torch.from_numpy(value) for key, value in sample.items()})
    onnx.save(model, str(tmp_path / "one.onnx"))
    (expected,) = CpuBackend(1, optimise="none").load(tmp_path / "one.onnx")(**sample)
    assert np.square(found.numpy() - expected).mean() < 1e-4 * np.square(expected).mean()


def test_weights_keep_their_7_bits(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    model = in_8_bits(profile, "encoder", calls["encoder"])
    made = tuned(model, profile.path("encoder"), calls["encoder"], Tuning(steps=5, rate=0.05))
    weights = [numpy_helper.to_array(c) for c in made.graph.initializer
               if c.data_type == onnx.TensorProto.INT8 and len(c.dims) == 4]
    assert len(weights) == 11 and max(int(np.abs(weight.astype(int)).max()) for weight in weights) <= NARROW


def test_a_tuning_that_goes_astray_is_not_taken(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    model = in_8_bits(profile, "encoder", calls["encoder"])
    made = tuned(model, profile.path("encoder"), calls["encoder"], Tuning(steps=3, rate=10.0))
    stored = [{c.name: numpy_helper.to_array(c) for c in one.graph.initializer if c.data_type == onnx.TensorProto.INT8}
              for one in (model, made)]
    assert all(np.array_equal(value, stored[1][name]) for name, value in stored[0].items())


def test_without_steps_a_network_stays_as_it_is(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    model = in_8_bits(profile, "encoder", calls["encoder"])
    assert tuned(model, profile.path("encoder"), [], Tuning(steps=0)) is model


def test_one_sample_is_too_few_to_tune_with(profile: Profile, calls: dict[str, list[Sample]]) -> None:
    model = in_8_bits(profile, "encoder", calls["encoder"])
    with pytest.raises(ValueError, match="1 samples to tune with; expected 2 at least"):
        tuned(model, profile.path("encoder"), calls["encoder"][:1], SHORT)


@pytest.mark.parametrize(("steps", "rate"), [(-1, 1e-3), (5, 0.0), (5, float("inf"))])
def test_a_tuning_of_no_sense_is_refused(steps: int, rate: float) -> None:
    with pytest.raises(ValueError, match="expected steps of 0 or more, and a positive rate"):
        Tuning(steps, rate)


def test_each_call_counts_once() -> None:
    one, other = {"x": np.zeros(3, np.float32)}, {"x": np.ones(3, np.float32)}
    found = distinct([one, other, {"x": np.zeros(3, np.float32)}])
    assert len(found) == 2 and found[0] is one and found[1] is other


@pytest.mark.parametrize("arguments", [["-precision", "fp16", "-tune", "5"], ["-precision", "int8", "-tune", "-1"]])
def test_tuning_belongs_to_8_bits(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *arguments, "-i", "a.mp4", "-held", "b.mp4", "out"]) == 2
    assert "belongs to -precision int8" in capsys.readouterr().err


def test_scenes_are_what_a_network_is_given_in_p_frames_too(profile: Profile) -> None:
    of = material([drawn_clip(frames=1, width=256, height=224), drawn_clip(frames=6, width=200, height=192)])
    assert [picture.shape for picture in of.pictures] == [(224, 256, 3), (192, 200, 3)]
    assert [clip.shape for clip in of.clips.values()] == [(6, 192, 200, 3)]
    found = {name: recorded(profile, name, of, scenes=2) for name in ("key_analysis", "inter_analysis")}
    assert len(found["key_analysis"]) == 2 and 2 < len(found["inter_analysis"]) <= 2 * (FRAMES - 1)
    assert {one["z"].shape for calls in found.values() for one in calls} == {(1, 48, SIDE // 8, SIDE // 8)}
    levels = {int(one["q"][0]) for calls in found.values() for one in calls}
    assert len(levels) == 2 and min(levels) >= LOW_QUALITY and max(levels) < HIGH_QUALITY
    again = recorded(profile, "inter_analysis", of, scenes=2)
    assert all(np.array_equal(one[name], other[name]) for one, other in
               zip(found["inter_analysis"], again, strict=True) for name in one)


def test_the_network_of_the_view_is_recorded_where_views_are_decoded(profile: Profile) -> None:
    of = material([drawn_clip(frames=1, width=SIDE, height=SIDE)])
    assert recorded(profile, "decoder", of, scenes=1) == []
    assert len(recorded(profile, "decoder", of, views=True, scenes=1)) > 0


def test_a_stretched_scene_has_more_contrast_and_colour_and_stays_still() -> None:
    picture = np.moveaxis(drawn_clip(frames=1, width=128, height=80).pixels[0], 0, -1) // 4 + np.uint8(96)
    first, second = stretched([picture, picture], np.random.default_rng(3))
    assert first.dtype == np.uint8 and first.shape == picture.shape and np.array_equal(first, second)
    (deeper,) = stretched([np.full((2, 2, 3), (90, 110, 100), np.uint8)], np.random.default_rng(3))
    assert int(deeper[..., 1].min()) - int(deeper[..., 0].max()) >= 20 * CONTRAST[0] - 1
    assert first.astype(float).std() > picture.astype(float).std()


def test_a_share_of_the_scenes_is_stretched(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    of = material([drawn_clip(frames=1, width=SIDE, height=SIDE)])
    spread = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(scenes, "STRETCHED", share)
        found = recorded(profile, "encoder", of, scenes=3)
        spread.append(np.mean([next(iter(one.values())).astype(np.float64).std() for one in found]))
    assert spread[1] > 1.2 * spread[0]


def test_a_part_of_a_scene_shows_another_picture_from_a_frame_on() -> None:
    random, scene, other = np.random.default_rng(4), np.zeros((SIDE, SIDE, 3), np.uint8), np.full(
        (SIDE, SIDE + 9, 3), 200, np.uint8)
    for _ in range(50):
        shown = [(frame != scene).all(-1) for frame in switched([scene] * FRAMES, other, random)]
        parts = [one.sum() for one in shown]
        start = parts.index(max(parts))
        assert 1 <= start < FRAMES and not any(parts[:start])
        assert all(np.array_equal(one, shown[start]) for one in shown[start:])
        rows, columns = shown[start].any(1), shown[start].any(0)
        assert np.array_equal(shown[start], np.outer(rows, columns)) and min(rows.sum(), columns.sum()) >= LEAST_PART
    assert not scene.any()


def test_some_stretched_scenes_change_at_once_where_that_is_asked_for(profile: Profile, monkeypatch: pytest.MonkeyPatch
                                                                     ) -> None:
    of = material([drawn_clip(frames=1, width=SIDE, height=SIDE)])
    asked = []

    def told(frames: Iterable[NDArray[np.uint8]], picture: NDArray[np.uint8], random: np.random.Generator
             ) -> Iterator[NDArray[np.uint8]]:
        asked.append(picture.shape)
        return switched(frames, picture, random)

    monkeypatch.setattr(scenes, "switched", told)
    for stretch, switch, changing in ((1.0, 0.0, True), (0.0, 1.0, True), (1.0, 1.0, False), (1.0, 1.0, True)):
        assert not asked
        monkeypatch.setattr(scenes, "STRETCHED", stretch)
        monkeypatch.setattr(scenes, "SWITCHED", switch)
        recorded(profile, "encoder", of, changing=changing, scenes=2)
    assert len(asked) == 2


def test_few_clips_make_few_of_the_scenes() -> None:
    picture = np.zeros((192, 192, 3), np.uint8)
    clips = {str(number): picture for number in range(90)}
    shares = [mix(Material([picture], dict(list(clips.items())[:count]))).real for count in (0, 5, 10, 90)]
    assert shares == [0.0, 0.3, 0.6, 0.6]
    assert mix(Material([picture])).still == 0.375  # the others are moved


def test_a_network_is_tuned_on_scenes_that_are_recorded_once_for_all_plans(
        profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, bool]] = []

    def two(profile: Profile, network: str, of: Material, *, views: bool, changing: bool) -> Sequence[Sample]:
        asked.append((network, views, changing))
        return recorded(profile, network, of, views=views, scenes=2)

    monkeypatch.setattr(scenes, "recorded", two)
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ("inter_analysis",))
    clip = drawn_clip(frames=4, width=SIDE, height=SIDE)
    strict = Tolerance(bits=-10.0, view=200.0)
    _, trials = write_int8(profile, tmp_path / "out", [clip], [clip], strict, tmp_path, steps=2)
    assert asked == [("inter_analysis", False, False), ("decoder", True, False)]
    assert [(trial.network, trial.plan, trial.accepted) for trial in trials] == [
        ("inter_analysis", "large", False), ("inter_analysis", "pointwise", False), ("decoder", "large", False)]


def test_what_is_handed_on_is_tuned_on_scenes_that_change_at_once_too(
        profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def two(profile: Profile, network: str, of: Material, *, views: bool, changing: bool) -> Sequence[Sample]:
        asked.append((network, changing))
        return recorded(profile, network, of, views=views, changing=changing, scenes=2)

    monkeypatch.setattr(scenes, "recorded", two)
    monkeypatch.setattr(variant, "STATE_PLANS", {"key_synthesis": None})
    monkeypatch.setattr(variant, "ENCODER_NETWORKS", ())
    clip = drawn_clip(frames=4, width=SIDE, height=SIDE)
    strict = Tolerance(bits=-10.0, view=200.0)
    write_int8(profile, tmp_path / "out", [clip], [clip], strict, tmp_path, state=True, steps=2)
    assert asked == [("key_synthesis", True), ("decoder", False)]


def test_plans_that_take_the_same_convolutions_are_one(profile: Profile) -> None:
    found = {name: [plan.name for plan in variant.distinct_plans(onnx.load(str(profile.path(name))))]
             for name in ("encoder", "decoder", "key_analysis", "inter_analysis")}
    assert found == {"encoder": ["large"], "decoder": ["large"], "key_analysis": ["large", "pointwise"],
                     "inter_analysis": ["large", "pointwise"]}
    assert variant.distinct_plans(onnx.load(str(profile.path("colour")))) == list(PLANS)  # neither takes anything


def test_what_is_too_small_to_tune_with_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    _tell_small([], 5)
    _tell_small(["a", "b"], 2)
    assert capsys.readouterr().out == ""
    _tell_small(["a.mp4", "b.mp4", "c.mp4", "d.mp4"], 9)
    assert capsys.readouterr().out == (
        "4 of 9 pictures and videos have a side below 192 pixels as they were read and are left out of what is tuned "
        "with: a.mp4, b.mp4, c.mp4, ...\n")


def test_pictures_too_small_for_scenes_are_named() -> None:
    with pytest.raises(ValueError, match="none of the 1 pictures and videos to tune with has 192 x 192"):
        material([drawn_clip(frames=2, width=256, height=128)])


def test_a_side_too_small_for_scenes_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-precision", "int8", "-side", "128", "-i", "a.mp4", "-held", "b.mp4", "out"]) == 2
    assert "-side 128: scenes to tune with have 192x192 pixels" in capsys.readouterr().err


def test_a_folder_stands_for_the_pictures_and_videos_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jpg", "notes.txt", "deep/a.MP4"):
        (tmp_path / name).touch()
    (tmp_path / "frames.png").mkdir()
    found = files([tmp_path, Path("c.dat"), tmp_path / "b.jpg"])
    assert found == [tmp_path / "b.jpg", tmp_path / "deep/a.MP4", Path("c.dat")]
    (tmp_path / "deep/a.MP4").unlink()
    with pytest.raises(ValueError, match=r"deep: no picture or video below this folder; expected .*mp4"):
        files([tmp_path / "deep"])


def test_samples_of_one_shape_are_one_batch_and_count_as_much_as_alone(tmp_path: Path) -> None:
    base, model, given = drawn(tmp_path)
    wide: list[Sample] = [{"x": np.repeat(one["x"], 2, axis=3)} for one in given[:4]]
    mixed = [tuning._tensors(one) for one in (*given[:3], *wide)]
    float_network = TorchNetwork(base, torch.device("cpu"))
    pairs = [(one, float_network.tensors(**one)) for one in mixed]
    network = QuantisedNetwork(model, NARROW)
    weights = tuning._weights(network, pairs)
    stacked = tuning._stacked(pairs, weights)
    assert [tuple(batch.inputs["x"].shape) for batch in stacked] == [(3, 4, 8, 8), (4, 4, 8, 16)]
    with torch.no_grad():
        alone = sum(batch.loss(network) for one, by in zip(pairs, weights, strict=True)
                    for batch in tuning._stacked([one], [by])) / len(pairs)
        together = sum(batch.loss(network) for batch in stacked)
        errors = [tuning._errors(network(**sample), wanted).mean(1) for sample, wanted in pairs]
    assert torch.allclose(torch.as_tensor(alone), torch.as_tensor(together))
    assert all(0 < float((by[:, 0] * error).sum()) <= len(error) + 1e-5
               for by, error in zip(weights, errors, strict=True))


def test_a_network_may_take_half_of_what_is_left_of_the_bits(
        profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = drawn_clip(frames=2, width=128, height=128)
    rates = iter([0.006, 0.004, 0.008, 0.007])
    monkeypatch.setattr(variant, "rate_change", lambda base, other: next(rates))
    attempts = [variant.Attempt(plan, lambda model: model) for plan in ("fast", "slow")]
    search = variant.Search(profile, dict.fromkeys(("encoder", "key_analysis"), attempts), [clip],
                            Tolerance(bits=0.01), tmp_path, lambda trial: None, changed=CpuBackend(1), timing={})
    assert search.run().keys() == {"encoder", "key_analysis"}
    assert [(trial.network, trial.plan, trial.accepted) for trial in search.trials] == [
        ("encoder", "fast", False), ("encoder", "slow", True), ("key_analysis", "fast", False),
        ("key_analysis", "slow", True)]


def test_small_ends_and_depthwise_convolutions_stay_in_float32_in_the_plan_large(profile: Profile) -> None:
    model = folded(onnx.load(str(profile.path("inter_synthesis"))))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}.{number}"
    sizes = {constant.name: tuple(constant.dims) for constant in model.graph.initializer}
    shapes = {node.name: sizes[node.input[1]] for node in model.graph.node if node.op_type == "Conv"}
    taken = chosen(model, LARGE)
    left = [shape for name, shape in shapes.items() if name not in taken]
    assert (192, 320, 1, 1) in [shapes[name] for name in taken]  # the first, of nearly as many weights as the largest
    assert (96, 112, 1, 1) in left and (48, 96, 1, 1) in left and all(shapes[name][1] != 1 for name in taken)


def test_a_picture_becomes_a_clip_whose_view_moves_over_it() -> None:
    still = drawn_clip(frames=1, width=128, height=80)
    moving = in_motion(still, 4)
    assert [view.shape for view in moving.pixels] == [(3, 70, 118)] * 4
    for number, view in enumerate(moving.pixels):
        at = PAN * number
        assert np.array_equal(view, still.pixels[0][:, at:at + 70, 9 - at:127 - at])


def test_what_moves_already_or_leaves_no_room_stays_as_it_is() -> None:
    clip, still = drawn_clip(frames=2, width=128, height=80), drawn_clip(frames=1, width=128, height=80)
    assert in_motion(clip, 4) is clip and in_motion(still, 1) is still
    assert len(in_motion(still, 100).frames) == (80 - LEAST_VIEW) // PAN + 1
