"""What people wrote down about pictures: boxes in YOLO's form, and 68 landmarks of faces."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.average_precision import Reference
from duoview.detectors import COCO

LANDMARKS = "landmarks68.csv"
CLASSES = "classes.txt"
POINTS = 68


def read_boxes(path: Path, width: int, height: int, names: Sequence[str]) -> Reference:
    """Boxes of one picture: ``class x y width height`` per line, centre and size as shares of the picture's.

    Args:
        path: the file; one that does not exist says that the picture holds nothing, as YOLO's tools have it.
        width: of the picture in pixels, as boxes come out.
        height: likewise.
        names: of the classes.

    Raises ValueError with the line.
    """
    boxes, found = [], []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, x, y, across, down = line.split()
            values = [float(x), float(y), float(across), float(down)]
            name = names[int(label)] if int(label) >= 0 else ""
        except (ValueError, IndexError):
            name = ""
        if not name or not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
            raise ValueError(f"{path}, line {number}: {line!r}: expected class x y width height, a class of "
                             f"0 to {len(names) - 1} and shares of 0 to 1")
        x0, y0 = (values[0] - values[2] / 2) * width, (values[1] - values[3] / 2) * height
        boxes.append((x0, y0, x0 + values[2] * width, y0 + values[3] * height))
        found.append(name)
    return Reference(np.array(boxes, np.float64).reshape(-1, 4), tuple(found), np.zeros(len(boxes), np.bool_))


def read_classes(folder: Path) -> tuple[str, ...]:
    """Names of a folder's classes: a line of classes.txt each, COCO's where there is no such file."""
    path = folder / CLASSES
    if not path.is_file():
        return tuple(COCO)
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def read_landmarks(path: Path) -> dict[str, NDArray[np.float64]]:
    """Landmarks by picture: ``FILE,x0,y0,...,x67,y67`` per line, in pixels; (68, 2) each. Raises ValueError with the
    line."""
    found: dict[str, NDArray[np.float64]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row:
                continue
            try:
                points = np.array([float(part) for part in row[1:]]).reshape(POINTS, 2)
            except ValueError:
                points = np.full((1, 2), np.nan)
            if not np.isfinite(points).all():
                raise ValueError(f"{path}, line {number}: {len(row) - 1} values; expected a file's name and "
                                 f"{2 * POINTS} numbers")
            found[row[0]] = points
    return found
