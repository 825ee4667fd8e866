"""The judges of `bench accuracy` that are no detectors: landmarks, segmentation, classification, and their files."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
clips = BENCH.module("bench.accuracy.clip")
command = BENCH.module("bench.accuracy.command")
judge_module = BENCH.module("bench.accuracy.judge")
judges = BENCH.module("bench.accuracy.judges")
landmarks = BENCH.module("bench.accuracy.landmarks")
metric = BENCH.module("bench.accuracy.metric")
network = BENCH.module("bench.accuracy.network")
segmentation = BENCH.module("bench.accuracy.segmentation")

SIDE = 16
Described = Callable[..., Path]


def write(path: Path, nodes: Sequence[Any], shape: Sequence[Any], **tensors: Any) -> None:
    """A network from ``picture`` (1, 3, 16, 16) to ``out``."""
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    sink = helper.make_tensor_value_info("out", TensorProto.FLOAT, list(shape))
    FILES.write(path, nodes, [source], [sink], [numpy_helper.from_array(value, name) for name, value in
                                                tensors.items()])


def spot(path: Path) -> None:
    """All 68 landmarks where it is brightest: at the centre of mass of what it sees, as shares of the crop."""
    at = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
    across, down = np.broadcast_to(at, (3, SIDE, SIDE)), np.broadcast_to(at[:, None], (3, SIDE, SIDE))
    pick = np.stack([across, down], axis=-1).reshape(-1, 2).astype(np.float32)
    write(path, [helper.make_node("Reshape", ["picture", "row"], ["flat"]),
                 helper.make_node("ReduceSum", ["flat", "one"], ["sum"]),
                 helper.make_node("MatMul", ["flat", "pick"], ["moment"]),
                 helper.make_node("Div", ["moment", "sum"], ["centre"]),
                 helper.make_node("Tile", ["centre", "times"], ["out"])], [1, 136], pick=pick,
          row=np.array([1, -1], np.int64), one=np.array([1], np.int64), times=np.array([1, 68], np.int64))


def colours(path: Path) -> None:
    """Class 0, 1 or 2 by the strongest of red, green and blue, pixel by pixel."""
    write(path, [helper.make_node("Identity", ["picture"], ["out"])], [1, 3, SIDE, SIDE])


def mean_colour(path: Path) -> None:
    """The same for the whole picture."""
    write(path, [helper.make_node("ReduceMean", ["picture"], ["out"], axes=[2, 3], keepdims=0)], [1, 3])


@pytest.fixture
def described(tmp_path: Path) -> Described:
    """Writes a network and its description."""

    def made(task: str, build: Callable[[Path], None], *more: str, folder: str = "") -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        build(place / f"{build.__name__}.onnx")
        path = tmp_path / f"{build.__name__}.toml"
        path.write_text("\n".join([f'task = "{task}"', f'network = "{build.__name__}.onnx"', *more, "[input]",
                                   f"width = {SIDE}", f"height = {SIDE}", 'colour = "rgb"']))
        return path

    return made


def clip_of(*pictures: Any, points: Any = None) -> Any:
    frames = tuple(av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures)
    return clips.Clip("a", frames, Fraction(1), None, "digest", still=True, landmarks=points)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Any:
    picture = np.empty((32, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = left, right
    return picture


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def face(x: int, y: int) -> tuple[Any, Any]:
    """A bright spot in the dark, and 68 landmarks in a square of 40 around the middle, eyes 20 apart."""
    picture = np.zeros((80, 100, 3), np.uint8)
    picture[y - 2:y + 2, x - 2:x + 2] = 255
    points = np.full((68, 2), (50.0, 40.0))
    points[:4] = [(30, 20), (70, 20), (30, 60), (70, 60)]
    points[36], points[45] = (40, 40), (60, 40)
    return picture, points


def test_landmarks_are_looked_for_in_the_square_around_the_face_and_come_back_in_its_pixels(
        described: Described) -> None:
    judge = judges.open_named(str(described("landmarks", spot)))
    picture, points = face(58, 31)
    assert landmarks.square_around(points, 1.2) == (26, 16, 74, 64)
    (seen,) = judge.look([av.VideoFrame.from_ndarray(picture, format="rgb24")], clip_of(picture, points=(points,)))
    assert seen.shape == (68, 2) and np.allclose(seen, (58, 31), atol=0.5)


def test_the_error_of_landmarks_is_measured_in_distances_of_the_eyes(described: Described) -> None:
    judge = judges.open_named(str(described("landmarks", spot)))
    source, points = face(50, 40)
    moved, _ = face(56, 48)
    clip = clip_of(source, points=(points,))
    here, there = (judge.look([av.VideoFrame.from_ndarray(picture, format="rgb24")], clip) for picture in
                   (moved, source))
    result = judge.accuracy(here, there, clip)
    assert result.nme == pytest.approx(10 / 20, abs=0.02)
    assert result.landmarks == pytest.approx(1 - result.nme) and result.real_nme > result.nme
    assert judge.accuracy(there, there, clip).nme == 0
    assert metric.Accuracy(nme=3.0).landmarks == 0


def test_a_clip_that_does_not_say_where_faces_are_is_not_judged_by_landmarks(described: Described) -> None:
    judge = judges.open_named(str(described("landmarks", spot)))
    clip = clip_of(face(50, 40)[0])
    seen = judge.look(clip.frames, clip)
    result = judge.accuracy(seen, seen, clip)
    assert result.nme is None and "no landmarks68.csv" in result.reason
    with pytest.raises(ValueError, match="landmarks 36 and 45 are one point"):
        landmarks.errors([np.zeros((68, 2))], [np.zeros((68, 2))], [np.zeros((68, 2))], (36, 45))


def test_segmentation_is_the_mean_over_classes_of_intersection_over_union(described: Described) -> None:
    judge = judges.open_named(str(described("segmentation", colours)))
    clip = clip_of(halves(RED, GREEN), halves(RED, RED))
    source = judge.look(clip.frames, clip)
    assert source[0].tolist() == [[0] * 8 + [1] * 8] * 16
    other = clip_of(halves(RED, GREEN), halves(RED, BLUE))
    result = judge.accuracy(judge.look(other.frames, clip), source, clip)
    # Red: 2 of 3 halves; green: all of it. Blue is not in the source: it costs where it takes the place of another.
    assert result.miou == pytest.approx((2 / 3 + 1) / 2) and result.kinds == ("class 0", "class 1")
    assert judge.accuracy(source, source, clip).miou == 1


def test_a_class_of_a_few_pixels_is_not_judged() -> None:
    source = np.zeros((100, 100), np.uint8)
    source[0, :49] = 3
    assert segmentation.overlaps([np.zeros_like(source)], [source]).value("miou", 1) == pytest.approx(0.9951)
    source[0, 49] = 3
    both = segmentation.overlaps([source], [source])
    assert np.flatnonzero(both.judged).tolist() == [0, 3] and both.value("miou", 1) == 1


def test_classification_is_the_share_of_pictures_that_keep_their_class(described: Described) -> None:
    judge = judges.open_named(str(described("classification", mean_colour)))
    clip = clip_of(halves(RED, RED), halves(GREEN, GREEN), halves(BLUE, BLUE), halves(BLUE, BLUE))
    source = judge.look(clip.frames, clip)
    assert source == [0, 1, 2, 2]
    other = clip_of(halves(RED, RED), halves(GREEN, GREEN), halves(RED, RED), halves(BLUE, BLUE))
    assert judge.accuracy(judge.look(other.frames, clip), source, clip).top1 == 0.75


@pytest.mark.parametrize(("task", "build"), [("landmarks", spot), ("segmentation", colours),
                                             ("classification", mean_colour)])
def test_what_is_seen_in_the_source_is_kept_and_the_same_when_read(
        described: Described, tmp_path: Path, task: str, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judges.open_named(str(described(task, build)))
    picture, points = face(55, 35)
    clip = clip_of(picture, points=(points,))
    first = judge_module.SourceFindings(tmp_path / "kept").of(clip, judge)
    monkeypatch.setattr(type(judge), "look", None)
    again = judge_module.SourceFindings(tmp_path / "kept").of(clip, judge)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)) and len(again) == 1
    shown = judge.drawn(Image.fromarray(picture), again[0])
    assert shown.size == (100, 80) and not np.array_equal(np.asarray(shown), picture)
    assert judge.count(again[0]) > 0 and judge.caption(again[0])


def test_a_network_lies_beside_its_description_or_in_a_folder_of_weights(described: Described, tmp_path: Path) -> None:
    path = described("classification", mean_colour, "decides = true", folder="weights")
    with pytest.raises(FileNotFoundError, match=r"judge mean_colour: no mean_colour\.onnx in .*--weights takes its"):
        judges.open_named(str(path))
    judge = judges.open_named(str(path), [tmp_path, tmp_path / "weights"])
    assert judge.decides and judge.name == "mean_colour" and judge.headline == "top1"
    assert not judges.open_named(str(described("classification", mean_colour))).decides


@pytest.mark.parametrize("name", tuple(judges.NETWORKS))
def test_networks_that_are_known_by_name_need_only_their_weights(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"judge {name}: no "):
        judges.open_named(name, [tmp_path])
    file = judges.NETWORKS[name].read_text().split('network = "')[1].split('"')[0]
    (tmp_path / file).touch()
    made = network.read_description(judges.NETWORKS[name], [tmp_path])
    assert made.file == tmp_path / file and made.decides and made.preparation.width > 100


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['task = "guessing"'], "task = 'guessing': expected one of landmarks, segmentation, classification;"),
        (['task = "segmentation"', "eyes = [1, 2]"], "no key 'eyes'; there are task, network, decides, input"),
        (['task = "landmarks"', 'decides = "yes"'], "decides = 'yes': expected a value of type bool"),
        (['task = "landmarks"'], "network is missing"),
        (['task = "landmarks"', 'network = "a.onnx"', "eyes = [1, 68]"], r"eyes = \[1, 68\]: expected two different"),
        (['task = "landmarks"', 'network = "a.onnx"', "margin = 9"], "margin = 9.0: expected 0.5 to 5"),
        (['task = "landmarks"', 'network = "a.onnx"', "[input]", "size = 3"], "no key 'input.size'; there are width"),
        (['task = "landmarks"', 'network = "a.onnx"', "[input]", "width = 64"], "width and height are needed"),
        (['task = "landmarks"', 'network = "a.onnx"', "[input]", "std = [1, 0, 1]"], "input: std=.*expected no zero"),
        (["task"], "Expected '='"),
    ],
)
def test_a_description_that_cannot_be_understood_names_the_key(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "a.onnx").touch()
    text = [*lines, *([] if any("[input]" in line for line in lines) else ["[input]", "width = 9", "height = 9"])]
    (tmp_path / "judge.toml").write_text("\n".join(text))
    with pytest.raises(ValueError, match=rf"judge\.toml: .*{message}"):
        network.read_description(tmp_path / "judge.toml")


def test_judges_of_every_task_stand_side_by_side_in_one_run(described: Described, tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    points = face(50, 40)[1]
    for number in range(5):
        picture = halves((240, 48, 32), (0, 200 - 30 * number, 0))
        Image.fromarray(picture).resize((100, 80)).save(tmp_path / "red" / f"{number}.png")
    (tmp_path / "red" / "landmarks68.csv").write_text("".join(
        f"{number}.png,{','.join(map(str, points.ravel()))}\n" for number in range(5)))
    files = [FILES.looking_detector(tmp_path / "detector.onnx"), described("landmarks", spot),
             described("segmentation", colours), described("classification", mean_colour)]
    assert command.main(["--stills", str(tmp_path / "red"), "--judges", *map(str, files),
                         "--codecs", "jpeg", "x264-veryfast", "--anchor", "x264-veryfast",
                         "--points", "6", "--more", "1", "--bytes", "400", "2000", "--below", "500",
                         "--out", str(tmp_path / "out"), "--no-pictures"]) == 0
    results = json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"]
    assert {item["task"] for item in results["verdicts"]} == set(metric.TASKS)
    assert {item["metric"] for item in results["comparisons"]} == {"ap75", "real_landmarks", "miou", "top1"}
    by_metric = {item["metric"]: item["judge"] for item in results["comparisons"]}
    assert by_metric == {"ap75": "detector", "real_landmarks": "spot", "miou": "colours", "top1": "mean_colour"}
    assert {item["limit"] for item in results["within"]} == {500}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Best accuracy (mIoU) within 500 bytes a frame" in text and "| 1 - real NME |" in text


def test_one_command_classifies_pictures_over_bits_a_pixel_without_the_container(
        described: Described, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "red").mkdir()
    for number, width in enumerate((96, 128, 160, 96, 128)):
        picture = Image.fromarray(halves((200, 60, 50), (40, 180 - 20 * number, 40))).resize((width, 96))
        noise = np.random.default_rng(number).integers(-40, 40, (96, width, 3))
        Image.fromarray((np.array(picture) + noise).clip(0, 255).astype(np.uint8)).save(
            tmp_path / "red" / f"{number}.png")
    judge = described("classification", mean_colour)
    arguments = ["--stills", str(tmp_path / "red"), "--judges", str(judge), "--codecs", "neural", "jpeg", "x265-medium",
                 "--points", "6", "--more", "0", "--below", "--count", "packets", "--out", str(tmp_path / "out"),
                 "--no-pictures"]
    with pytest.raises(SystemExit):
        command.main([*arguments, "--bpp", ".3", ".02"])
    assert "--bpp 0.3 0.02: expected two rising numbers above 0" in capsys.readouterr().err
    assert command.main([*arguments, "--bpp", ".4", "1.5"]) == 0
    written = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert written["what"].endswith("without the container") and written["settings"]["count"] == "packets"
    coded = [item for item in written["results"]["verdicts"] if item["codec"] != "source"]
    assert {item["pixels"] for item in coded} == {96 * (96 + 128 + 160 + 96 + 128)}
    assert {item["base"] for item in coded} == {"neural", "jpeg", "x265-medium"}
    for base in ("neural", "x265-medium"):
        rates = [8 * item["bytes"] / item["pixels"] for item in coded if item["base"] == base]
        assert min(rates) < 0.4 and max(rates) > 1.2, base
    assert {item["metric"] for item in written["results"]["comparisons"]} == {"top1"}
    assert "| bytes a frame | bits a pixel | top-1 |" in (tmp_path / "out" / "report.md").read_text()
