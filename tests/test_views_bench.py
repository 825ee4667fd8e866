"""bench.views: what it says of views is what was done to them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview.access_unit import SectionType
from duoview.detections import Detections

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
command: Any = ACCURACY.module("bench.views.command")
distributions: Any = ACCURACY.module("bench.views.distributions")
features: Any = ACCURACY.module("bench.features")
fidelity: Any = ACCURACY.module("bench.views.fidelity")
flickering: Any = ACCURACY.module("bench.views.flicker")
measuring: Any = ACCURACY.module("bench.views.measure")
objects: Any = ACCURACY.module("bench.views.objects")
squeezenet: Any = ACCURACY.module("bench.accuracy.squeezenet")
view: Any = ACCURACY.module("bench.views.view")

RANDOM = np.random.default_rng(3)
PHOTOGRAPH = np.ascontiguousarray(data.astronaut()[:192, 100:356])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SqueezeNet of random weights, so scaled that signals keep their size."""
    random, arrays, depth = np.random.default_rng(1), {}, 3
    for name, shape in (("conv1", (64, 3, 3)), *(
            (f"fire{number}/{part}", shape) for number, (narrow, wide) in zip(
                squeezenet.FIRES, ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256),
                                   (64, 256)), strict=True)
            for part, shape in (("squeeze1x1", (narrow, 0, 1)), ("expand1x1", (wide, narrow, 1)),
                                ("expand3x3", (wide, narrow, 3)))), ("conv10", (1000, 512, 1))):
        out, into, side = shape
        into = into or depth
        arrays[f"{name}.w"] = random.normal(0, (2 / (into * side * side)) ** 0.5, (out, into, side, side)).astype("f4")
        arrays[f"{name}.b"] = np.zeros(out, np.float32)
        depth = 2 * out if name.endswith("expand3x3") else out
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


def blurred(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    small = picture.reshape(picture.shape[0] // side, side, picture.shape[1] // side, side, 3).mean((1, 3))
    return np.rint(small).astype(np.uint8).repeat(side, 0).repeat(side, 1)


@pytest.mark.parametrize("distance", ["perceptual_distance", "structure_distance"])
def test_distances_are_nothing_for_the_same_picture_and_grow_with_what_is_missing(distance: str, weights: Path) -> None:
    network = features.FrozenFeatures(weights)
    source, slight, strong = (network(picture) for picture in (PHOTOGRAPH, blurred(PHOTOGRAPH, 2),
                                                               blurred(PHOTOGRAPH, 8)))
    measured = getattr(features, distance)
    assert measured(source, source) == pytest.approx(0, abs=1e-6)
    assert 0.001 < measured(source, slight) < measured(source, strong)


def test_patches_are_the_means_of_their_own_positions(weights: Path) -> None:
    network = features.FrozenFeatures(weights)
    whole = network(PHOTOGRAPH)
    patches = features.patch_features(whole)
    assert patches.shape == (2, 512)  # 11 x 15 positions hold one row of two patches of 6 x 6
    assert np.allclose(patches[1], whole.stages[-1][:, :6, 6:12].mean((1, 2)), atol=1e-4)


def test_the_patch_distance_of_equal_distributions_is_about_zero_and_that_of_others_is_not() -> None:
    source = RANDOM.normal(1, 1, (400, 8))
    places = np.arange(400) % 100
    again, moved = RANDOM.normal(1, 1, (400, 8)), RANDOM.normal(1.5, 1, (400, 8))
    found = distributions.patch_distances(source, {"again": again, "moved": moved}, places, anchor="moved", repeats=200)
    assert found["again"].kid.low < 0 < found["again"].kid.high
    assert found["moved"].kid.low > 0 and found["moved"].kid.low < found["moved"].kid.value < found["moved"].kid.high
    assert found["again"].against.high < 0.2 and found["moved"].against is None
    assert found["moved"].places == 100 and found["moved"].patches == 400


def test_a_place_that_is_seen_again_and_again_is_no_pair_with_itself() -> None:
    few = RANDOM.normal(0, 1, (40, 6))
    other = RANDOM.normal(0.3, 1, (40, 6))
    places = np.arange(40)
    once = distributions.patch_distances(few, {"v": other}, places, repeats=50)["v"].kid
    often = distributions.patch_distances(np.tile(few, (5, 1)), {"v": np.tile(other, (5, 1))}, np.tile(places, 5),
                                          repeats=50)["v"].kid
    assert often.value == pytest.approx(once.value) and often.low == pytest.approx(once.low)


def test_frechet_distance_of_two_gaussians_is_that_of_their_moments() -> None:
    one = RANDOM.normal(0, 1, (20000, 2)) * (1, 2)
    two = RANDOM.normal(0, 1, (20000, 2)) * (3, 2) + (0, 1)
    assert distributions.frechet_distance(one, two) == pytest.approx((3 - 1) ** 2 + 1, rel=0.05)
    assert distributions.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_fid_is_given_where_patches_suffice_only() -> None:
    def distance(count: int) -> Any:
        one, two = RANDOM.normal(0, 1, (2, count, 16))
        return distributions.patch_distances(one, {"v": two}, np.arange(count), repeats=2)["v"]

    assert distance(63).fid is None and distance(64).fid > 0


def test_a_view_that_moves_with_the_source_flickers_no_more_and_one_of_fresh_noise_does() -> None:
    picture = data.astronaut()
    source = [np.ascontiguousarray(picture[40:232, 100 + 2 * step:356 + 2 * step]) for step in range(4)]
    along = flickering.motions(source)
    noisy = [np.clip(one + RANDOM.normal(0, 12, one.shape), 0, 255).astype(np.uint8) for one in source]
    own = flickering.flicker(source, along)
    assert own < 4  # by interpolation alone; without motion compensation it is far more
    still = [flickering.Motion(np.stack(np.meshgrid(np.arange(256.0), np.arange(192.0)), -1).astype(np.float32),
                               np.ones((192, 256), bool)) for _ in along]
    assert flickering.flicker(source, still) > 2 * own
    assert flickering.flicker(noisy, along) > own + 8
    with pytest.raises(ValueError, match="1 pictures and 3 motions"):
        flickering.flicker(source[:1], along)


def test_low_frequencies_forget_detail_and_keep_colour() -> None:
    flat = blurred(PHOTOGRAPH, 16)
    assert fidelity.low_frequency_psnr([PHOTOGRAPH], [flat]) > 50 > fidelity.clip_psnr([PHOTOGRAPH], [flat])
    brighter = np.clip(PHOTOGRAPH.astype(int) + 16, 0, 255).astype(np.uint8)
    assert fidelity.low_frequency_psnr([PHOTOGRAPH], [brighter]) < 27
    assert fidelity.clip_psnr([PHOTOGRAPH], [PHOTOGRAPH]) == float("inf")


def test_objects_are_kept_lost_or_invented_and_weak_counterparts_count() -> None:
    def seen(*items: tuple[float, float]) -> Detections:
        boxes = [(x, 0, x + 20, 40) for x, _ in items]
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array([score for _, score in items]),
                          np.zeros(len(items), int), ("person",), "test", 640, 360)

    found = objects.compared([seen((0, 0.9), (100, 0.6), (200, 0.4))], [seen((0, 0.3), (300, 0.8))])
    assert found == objects.Objects(source=2, kept=1, lost=1, invented=1)
    assert found + found == objects.Objects(4, 2, 2, 2)


@pytest.mark.parametrize(("text", "said"), [
    ("person", "expected one of machine, human, texture"), ("machine:q=3", "'q=3'"), ("human:steps", "'steps'"),
    ("human:drop=nothing", "drop=nothing")])
def test_a_view_that_cannot_be_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        view.View.read(text)


def test_a_view_is_read_as_the_decoder_takes_it() -> None:
    read = view.View.read("human:start=guided:steps=2:drop=caption")
    assert read.view == "human" and read.arguments == {"start": "guided", "steps": 2}
    assert read.drop == (SectionType.CAPTION,) and read.layers == (0, (SectionType.CAPTION,))
    with pytest.raises(ValueError, match="machine among them"):
        view.read_all(["human:start=guided"])


@pytest.mark.parametrize(("size", "quality"), [(1, 51), (500, 42), (501, 41), (99999, 10)])
def test_another_coder_gets_the_cheapest_file_that_is_not_smaller(size: int, quality: int) -> None:
    """Its qualities 51 to 10 have 50 bytes more each step."""
    codec = SimpleNamespace(qualities=tuple(range(51, 9, -1)), size=lambda clip, level: 50 * (52 - level))
    assert measuring.at_bytes(codec, None, size) == quality


def test_the_command_writes_every_view_and_coder_of_every_clip(tmp_path: Path, weights: Path) -> None:
    for name, source in (("one", "testsrc2=size=192x128:rate=10"), ("two", "mandelbrot=size=192x128:rate=10")):
        ACCURACY.write_clip(tmp_path / f"{name}.mp4", ACCURACY.lavfi(source, 3))
    out = tmp_path / "views.json"
    assert command.main(["--clips", str(tmp_path), "--features", str(weights), "--views", "machine",
                         "human:start=guided:steps=1", "--peers", "x264-veryfast", "--every", "2", "--repeats", "20",
                         "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    rows = {(row["clip"], row["view"]): row for row in report["results"]["rows"]}
    names = ["machine", "human:start=guided:steps=1", "x264-veryfast at machine"]
    assert list(rows) == [(clip, name) for clip in ("one@10", "two@10") for name in names]
    for clip in ("one@10", "two@10"):
        machine, human, other = (rows[clip, name] for name in names)
        assert machine["bytes_per_frame"] == human["bytes_per_frame"] <= other["bytes_per_frame"]
        assert human["psnr"] != machine["psnr"] and human["seconds"] > machine["seconds"] > 0
    summary = {one["view"]: one for one in report["results"]["summary"]}
    assert summary["machine"]["perceptual_share"] == 1 and summary["machine"]["patches"]["patches"] == 4
    assert report["settings"]["clips"] == ["one@10", "two@10"] and report["machine"]["commit"]


def judged(psnr: float, flicker_of_source: float) -> Any:
    rows = tuple(measuring.Row("clip@25", name, 100, 24, psnr, 40, 2, 0.2, 1, flicker_of_source, None, 0.1)
                 for name in ("machine", "human"))
    source, machine, human = RANDOM.normal(0, 1, (3, 8, 4))
    return measuring.Judged(rows, source, {"machine": machine, "human": human}, np.arange(8))


def test_two_clips_of_one_name_both_count() -> None:
    machine, human = command.summarise([judged(20, 0.5), judged(40, 0.25)], repeats=5)
    assert (machine.psnr, human.psnr, human.flicker_share) == (30, 30, 3)


def test_a_still_source_has_no_flicker_that_shares_are_of() -> None:
    assert command.summarise([judged(20, 0.0), judged(40, 0.25)], repeats=5)[0].flicker_share == 4
    (still, _) = command.summarise([judged(20, 0.0)], repeats=5)
    assert still.flicker_share is None and "flicker no share" in command.told(still)


def test_features_of_another_network_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    ACCURACY.write_clip(tmp_path / "clip.mp4", ACCURACY.lavfi("testsrc2=size=64x64:rate=10", 2))
    assert command.main(["--clips", str(tmp_path), "--features", str(tmp_path / "other.npz")]) == 1
    assert "other.npz: not the weights of SqueezeNet 1.1" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    ([], "--texture-frames all: belongs to texture; expected --texture of 1 or more with it"),
    (["--texture", "1", "--machine", "inner"], "--texture-frames all: belongs to --machine neural; expected key")])
def test_frames_of_texture_that_is_not_coded_are_refused(tmp_path: Path, weights: Path, words: list[str], message: str,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--bikes", "--features", str(weights), "--out", str(tmp_path / "out.json"),
                      "--texture-frames", "all", *words])
    assert message in capsys.readouterr().err
