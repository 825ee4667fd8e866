"""Ground truth of still pictures in `bench accuracy`: boxes in YOLO's form, landmarks, and both scaled with them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from duoview.detections import Detections

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
truth = BENCH.module("bench.accuracy.truth")
clips = BENCH.module("bench.accuracy.clip")
detection = BENCH.module("bench.accuracy.detection")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two grey pictures of 200x100 and 100x100."""
    for name, width in (("a", 200), ("b", 100)):
        Image.fromarray(np.full((100, width, 3), 128, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def landmarks(*names: str) -> str:
    return "".join(f"{name},{','.join(str(number) for number in range(136))}\n" for name in names)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 79))
def test_shares_become_pixels(x: float, y: float, width: float, height: float, label: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.txt"
        path.write_text(f"{label} {x!r} {y!r} {width!r} {height!r}\n")
        found = truth.read_boxes(path, 640, 360, truth.read_classes(Path(place)))
    expected = [(x - width / 2) * 640, (y - height / 2) * 360, (x + width / 2) * 640, (y + height / 2) * 360]
    assert np.allclose(found.boxes, [expected], atol=1e-9) and len(found.names) == 1 and not found.ignored.any()


@pytest.mark.parametrize("line", ["0 .5 .5 .5", "80 .5 .5 .5 .5", "-1 .5 .5 .5 .5", "person .5 .5 .5 .5",
                                  "0 .5 .5 .5 1.5", "0 nan .5 .5 .5", "0 .5 .5 .5 .5 .9"])
def test_a_line_that_is_no_box_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(f"0 .5 .5 .5 .5\n{line}\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: .*expected class x y width height, a class of 0 to 79"):
        truth.read_boxes(tmp_path / "a.txt", 10, 10, truth.read_classes(tmp_path))


def test_boxes_beside_pictures_are_read_with_them_and_a_picture_without_a_file_holds_nothing(folder: Path) -> None:
    assert clips.load_pictures(folder).truth is None
    (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n2 0.25 0.5 0.5 1\n")
    clip = clips.load_pictures(folder, width=100)
    assert clip.truth[0].names == ("person", "car") and clip.truth[1].names == ()
    assert clip.truth[0].boxes.tolist() == [[25, 12.5, 75, 37.5], [0, 0, 50, 50]]  # of the picture as it is coded
    assert clip.only(1).truth == (clip.truth[1],) and len(clip.only(1).frames) == 1


def test_own_classes_stand_in_a_file(folder: Path) -> None:
    (folder / "classes.txt").write_text("helmet\nvest\n")
    (folder / "b.txt").write_text("1 0.5 0.5 1 1\n")
    assert clips.load_pictures(folder).truth[1].names == ("vest",)


def test_other_truth_makes_another_clip(folder: Path) -> None:
    seen = {clips.load_pictures(folder).sha256}
    for line in ("0 .5 .5 .5 .5", "0 .5 .5 .5 .6"):
        (folder / "a.txt").write_text(line)
        seen.add(clips.load_pictures(folder).sha256)
    (folder / "landmarks68.csv").write_text(landmarks("a.png", "b.png"))
    assert len({*seen, clips.load_pictures(folder).sha256}) == 4


def test_landmarks_are_scaled_with_their_picture(folder: Path) -> None:
    (folder / "landmarks68.csv").write_text(landmarks("b.png", "a.png", "elsewhere.png"))
    clip = clips.load_pictures(folder, width=100)
    points = np.arange(136.0).reshape(68, 2)
    assert np.array_equal(clip.landmarks[0], points / 2) and np.array_equal(clip.landmarks[1], points)
    assert clip.only(1).landmarks[0] is clip.landmarks[1]


def test_a_face_without_landmarks_and_a_line_of_another_length_are_named(folder: Path) -> None:
    (folder / "landmarks68.csv").write_text(landmarks("a.png"))
    with pytest.raises(ValueError, match=r"landmarks68\.csv: no line for b\.png"):
        clips.load_pictures(folder)
    (folder / "landmarks68.csv").write_text("a.png,1,2,3\n")
    with pytest.raises(ValueError, match="line 1: 3 values; expected a file's name and 136 numbers"):
        clips.load_pictures(folder)


def test_cars_and_buses_of_the_truth_are_vehicles_and_dogs_are_not_judged(folder: Path) -> None:
    (folder / "a.txt").write_text("2 .25 .5 .4 .4\n5 .75 .5 .4 .4\n16 .5 .5 .1 .1\n")
    reference = clips.load_pictures(folder).truth[0]
    grouped = detection.grouped_truth(reference)
    assert grouped.names == ("vehicle", "vehicle")
    found = Detections(grouped.boxes.astype(np.float32), np.array([0.9, 0.8], np.float32), np.array([1, 1], np.int32),
                       detection.KINDS, "m", 200, 100)
    result = detection.judged([found] * 3, [found] * 3, [reference] * 3)[0]
    assert result.real_ap75 == 1 and result.kinds == ("vehicle",)
    one = found.keep(np.array([0]))
    assert detection.judged([one] * 3, [found] * 3, [reference] * 3)[0].real_ap50 == pytest.approx(51 / 101)
    assert detection.judged([found], [found], [reference])[0].real_ap50 is None  # two objects are too few
