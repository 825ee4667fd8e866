"""Labels by detectors: strengths, parts of pictures, and that they are kept."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.detections import Detections
from duoview.errors import DetectorNotFoundError
from duoview.models.object_labels import Labeller, Labels, open_labeller, part_places

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.with_name("detector_files.py"))))


class BrightFinder:
    """Finds the box around all bright pixels; remembers the shapes it was shown."""

    def __init__(self, scores: Sequence[float] = (0.2,)) -> None:
        self.scores, self.shapes = scores, list[tuple[int, ...]]()

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        found = []
        for picture in pictures:
            self.shapes.append(picture.shape)
            rows, columns = np.nonzero(picture[:, :, 0] > 200)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []
            scores = self.scores if box else ()
            found.append(Detections(np.array([box] * len(scores)).reshape(-1, 4), np.array(scores),
                                    np.zeros(len(scores), int), ("thing",), "bright", picture.shape[1],
                                    picture.shape[0]))
        return found


def with_square(x: int, y: int, side: int, size: tuple[int, int] = (100, 200)) -> np.ndarray:
    """Grey (H, W, 3) with a bright square."""
    picture = np.full((*size, 3), 90, np.uint8)
    picture[y:y + side, x:x + side] = 255
    return picture


def test_strength_rises_over_the_range_of_scores() -> None:
    labeller = Labeller(BrightFinder((0.05, 0.1, 0.2, 0.3, 0.9)), 0.1, 0.3)
    boxes, strengths = labeller.label(with_square(10, 20, 8))
    assert np.allclose(strengths, [0.5, 1, 1]) and boxes.tolist() == [[10, 20, 18, 28]] * 3


def test_four_parts_cover_a_picture_and_overlap() -> None:
    covered = np.zeros((361, 641), int)
    for place in part_places(361, 641):
        covered[place] += 1
        assert covered[place].shape == (216, 384)
    assert covered[:360, :640].min() == 1 and covered[180, 320] == 4


@pytest.mark.parametrize(("x", "y"), [(150, 80), (5, 80), (150, 5), (5, 5)])
def test_boxes_in_parts_are_told_in_pixels_of_the_picture(x: int, y: int) -> None:
    finder = BrightFinder()
    boxes, strengths = Labeller(finder, 0.1, 0.3, parts=True).label(with_square(x, y, 6))
    assert boxes.tolist() == [[x, y, x + 6, y + 6]] and np.allclose(strengths, 0.5)
    assert finder.shapes == [(60, 120, 3)] * 4


def test_boxes_that_fill_a_part_are_pieces_of_something_larger() -> None:
    boxes, _ = Labeller(BrightFinder(), 0.1, 0.3, parts=True).label(np.full((100, 200, 3), 255, np.uint8))
    assert not len(boxes)


def test_a_labeller_reads_a_detector_file(tmp_path: Path) -> None:
    labeller = open_labeller(f"{FILES.looking_detector(tmp_path / 'red.onnx')}:0.2:0.6")
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :, 0] = 102  # a score of 0.4
    boxes, strengths = labeller.label(picture)
    assert str(labeller) == "red, scores 0.2 to 0.6"
    assert np.allclose(boxes, [[0, 0, 64, 64]], atol=0.1) and np.allclose(strengths, 0.5, atol=0.02)


def test_labellers_of_other_ranges_and_parts_are_told_apart(tmp_path: Path) -> None:
    file = FILES.looking_detector(tmp_path / "red.onnx")
    made = [open_labeller(f"{file}:0.2:0.6"), open_labeller(f"{file}:0.2:0.7"),
            open_labeller(f"{file}:0.2:0.6", parts=True)]
    assert len({labeller.identity for labeller in made}) == 3


@pytest.mark.parametrize("text", ["yolox.onnx", "yolox.onnx:0.3", "yolox.onnx:a:b", "yolox.onnx:0.3:0.1",
                                  "yolox.onnx:-1:0.1", "yolox.onnx:0.1:nan", "0.1:0.3"])
def test_a_wrong_range_is_told_before_a_file_is_looked_for(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        open_labeller(text)


def test_a_missing_detector_is_named() -> None:
    with pytest.raises(DetectorNotFoundError, match=r"gone\.onnx"):
        open_labeller("gone.onnx:0.1:0.3")


@given(st.text(max_size=40))
def test_any_text_is_refused_by_name_or_names_a_file_that_is_not_there(text: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)):
        open_labeller(text)


def test_labels_are_kept_and_detectors_not_asked_again(tmp_path: Path) -> None:
    path, finder = tmp_path / "new" / "labels.jsonl", BrightFinder()
    pictures = [with_square(10, 20, 8), with_square(30, 20, 9), np.full((40, 50, 3), 90, np.uint8)]
    first = [Labels([Labeller(finder, 0.1, 0.3, identity="a")], path).of(one) for one in pictures]
    again = Labels([Labeller(finder, 0.1, 0.3, identity="a")], path)
    second = [again.of(one) for one in pictures]
    assert len(finder.shapes) == 3 and len(again) == 3
    for (boxes, strengths), (same, equal) in zip(first, second, strict=True):
        assert np.array_equal(boxes, same) and np.array_equal(strengths, equal) and boxes.shape[1:] == (4,)
    Labels([Labeller(finder, 0.1, 0.5, identity="b")], path).of(pictures[0])
    assert len(finder.shapes) == 4


def test_a_line_cut_short_is_labelled_anew(tmp_path: Path) -> None:
    path, finder = tmp_path / "labels.jsonl", BrightFinder()
    labels = Labels([Labeller(finder, 0.1, 0.3)], path)
    pictures = [with_square(10, 20, 8), with_square(30, 20, 9)]
    found = [labels.of(one) for one in pictures]
    path.write_bytes(path.read_bytes()[:-10])
    again = Labels([Labeller(finder, 0.1, 0.3)], path)
    assert len(again) == 1 and np.array_equal(again.of(pictures[1])[0], found[1][0])
    assert len(Labels([Labeller(finder, 0.1, 0.3)], path)) == 2


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    for line in ('{"step": 1}', "nonsense", '{"picture": "a", "boxes": [[1, 2, 3, 4]], "strengths": []}'):
        path.write_text(line + "\n")
        with pytest.raises(ValueError, match="line 1 is no label"):
            Labels([Labeller(BrightFinder(), 0.1, 0.3)], path)


def test_labels_need_a_labeller() -> None:
    with pytest.raises(ValueError, match="one detector or more"):
        Labels([])
