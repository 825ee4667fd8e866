"""Boxes that detectors find in training pictures, and how sure they are: what networks learn where nobody drew boxes.

Detectors are files that are read and never stored with us. Each looks at whole pictures, or at four overlapping parts
of them, enlarged to its input, where it finds objects that are too small for it otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections
from duoview.detectors import load

Picture = NDArray[np.uint8]
#: Boxes (N, 4) x0 y0 x1 y1 in pixels of the picture, and strengths (N,) in 0..1.
Found = tuple[NDArray[np.float32], NDArray[np.float32]]
#: Finds objects in pictures (H, W, 3), uint8 RGB.
Find = Callable[[Sequence[Picture]], Sequence[Detections]]

#: A part has this share of either side; two of them overlap by a fifth.
PART = (3, 5)
#: Boxes in a part that cover more than this share of the whole picture are pieces of something larger.
LARGEST_IN_PART = 0.3


@dataclass(frozen=True)
class Labeller:
    """A detector whose scores count from ``least``, where strength is 0, to ``most``, from which it is 1.

    parts: it looks at four overlapping parts. name: what it is called in messages; identity: told from other labellers
    by it, also in files of labels.
    """

    find: Find
    least: float
    most: float
    parts: bool = False
    name: str = "detector"
    identity: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.most <= 1:
            raise ValueError(f"{self.name}: scores from {self.least} to {self.most}: expected 0 <= least < most <= 1")

    def __str__(self) -> str:
        return f"{self.name}{' on parts' if self.parts else ''}, scores {self.least:g} to {self.most:g}"

    def label(self, picture: Picture) -> Found:
        """Boxes and their strengths, none of them 0."""
        if not self.parts:
            (found,) = self.find([picture])
            return self._strong(found.boxes, found.scores)
        height, width = picture.shape[:2]
        places = part_places(height, width)
        pieces = self.find([np.ascontiguousarray(picture[place]) for place in places])
        corners = [np.tile(np.array([place[1].start, place[0].start], np.float32), 2) for place in places]
        boxes = np.concatenate([one.boxes + corner for one, corner in zip(pieces, corners, strict=True)])
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        whole = area < LARGEST_IN_PART * width * height
        return self._strong(boxes[whole], np.concatenate([one.scores for one in pieces])[whole])

    def _strong(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Found:
        strengths = np.clip((scores - self.least) / (self.most - self.least), 0, 1)
        kept = strengths > 0
        return boxes[kept].astype(np.float32), strengths[kept].astype(np.float32)


def part_places(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the four overlapping parts of a picture."""
    share, whole = PART
    return [(slice(y, y + height * share // whole), slice(x, x + width * share // whole))
            for y in (0, height * (whole - share) // whole) for x in (0, width * (whole - share) // whole)]


def open_labeller(text: str, *, parts: bool = False, threads: int = 1) -> Labeller:
    """A labeller from ``FILE:LEAST:MOST``, of any file that `duoview.detectors.load` reads.

    Raises ValueError for another form or range; DetectorNotFoundError and DetectorError as `load` does.
    """
    file, *ends = text.rsplit(":", 2)
    try:
        least, most = (float(end) for end in ends)
    except ValueError:
        raise ValueError(f"detector {text!r}: expected FILE:LEAST:MOST, such as yolox.onnx:0.1:0.3, the scores at "
                         "which an object begins to count and from which it counts in full") from None
    path = Path(file)
    # Checked before the network is opened, so that a wrong range is told at once.
    Labeller(lambda pictures: [], least, most, name=text)
    detector = load(path, threads=threads, confidence=least)
    content = hashlib.sha256(path.read_bytes())
    for beside in (path.with_suffix(".toml"), path.with_suffix(".bin")):
        if beside.is_file():
            content.update(beside.read_bytes())
    return Labeller(detector, least, most, parts, path.stem, f"{content.hexdigest()} {least} {most} {parts}")


class Labels:
    """What labellers find in pictures, kept in a file: labelling that was interrupted goes on where it was.

    Args:
        labellers: all of them look at every picture.
        path: JSON lines, made where it is not there; what other labellers found is left alone. None keeps nothing.
    Raises ValueError without labellers, and for a file that is none of labels.
    """

    def __init__(self, labellers: Sequence[Labeller], path: Path | None = None) -> None:
        if not labellers:
            raise ValueError("labellers: expected one detector or more")
        self.labellers, self.path = tuple(labellers), path
        self._identity = "\n".join(labeller.identity for labeller in labellers).encode()
        self._known: dict[str, Found] = {}
        if path is not None and path.is_file():
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def _read(self, path: Path) -> None:
        text = path.read_bytes()
        complete = text[:text.rfind(b"\n") + 1]
        if len(complete) < len(text):  # a kill in the middle of a line
            path.write_bytes(complete)
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._known[str(entry["picture"])] = _arrays(entry["boxes"], entry["strengths"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: line {number} is no label ({error}); remove the file to label anew"
                                 ) from None

    def of(self, picture: Picture) -> Found:
        """Boxes (N, 4), to a tenth of a pixel, and strengths (N,), to a thousandth, of a picture (H, W, 3)."""
        key = hashlib.sha256(self._identity + repr(picture.shape).encode() + picture.tobytes()).hexdigest()
        if key not in self._known:
            found = [labeller.label(picture) for labeller in self.labellers]
            boxes = np.concatenate([one for one, _ in found]).astype(float).round(1).tolist()
            strengths = np.concatenate([one for _, one in found]).astype(float).round(3).tolist()
            self._known[key] = _arrays(boxes, strengths)
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a") as file:
                    file.write(json.dumps({"picture": key, "boxes": boxes, "strengths": strengths}) + "\n")
        return self._known[key]


def _arrays(boxes: list[list[float]], strengths: list[float]) -> Found:
    found = np.array(boxes, np.float32).reshape(-1, 4), np.array(strengths, np.float32)
    if found[1].shape != found[0].shape[:1]:
        raise ValueError(f"{len(found[0])} boxes and strengths of shape {found[1].shape}")
    return found
