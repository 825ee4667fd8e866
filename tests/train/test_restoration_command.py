"""The command that trains the restoration network: what it measures by, and what it says of what it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duoview.detections import Detections
from duoview.models.restoration_command import found_again, main


def seen(*objects: tuple[float, float, float, float, float]) -> Detections:
    """Boxes with their scores, in a picture of 100x100."""
    boxes = np.array([one[:4] for one in objects], np.float32).reshape(-1, 4)
    scores = np.array([one[4] for one in objects], np.float32)
    return Detections(boxes, scores, np.zeros(len(objects), np.int32), ("thing",), "test", 100, 100)


def test_an_object_counts_as_found_again_where_its_box_fits() -> None:
    source = [seen((0, 0, 20, 20, 0.9), (50, 50, 90, 90, 0.5), (5, 60, 15, 70, 0.2)), seen((10, 10, 30, 30, 0.8))]
    moved = [seen((0, 0, 20, 21, 0.6), (60, 60, 100, 100, 0.9)), seen()]
    assert found_again(source, source) == 1
    assert found_again(moved, source) == pytest.approx(1 / 3)
    assert found_again([seen((0, 0, 20, 20, 0.1)), seen()], source) == 0
    with pytest.raises(ValueError, match="no object"):
        found_again([seen()], [seen((0, 0, 9, 9, 0.3))])


@pytest.mark.parametrize(("changed", "message"), [
    (["--minutes", "-1"], "--minutes -1.0: expected 0 or more"),
    (["--guide", "nothing"], "nothing"),
    (["--yolox", "missing.onnx"], "missing.onnx"),
    (["--codec", "av1"], "--codec av1: its encoder takes no regions"),
    (["--crop", "100"], "crop=100: expected a multiple of 16"),
])
def test_the_command_says_what_it_cannot_use(
        changed: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--videos", str(tmp_path), "--yolox", str(tmp_path / "y.onnx"), "--fastestdet",
               str(tmp_path / "f.onnx"), "--out", str(tmp_path / "run"), *changed]
    assert main(command) == 2
    assert message in capsys.readouterr().err
