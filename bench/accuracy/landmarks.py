"""Landmarks of faces: the mean distance to where they are, in distances between the eyes (NME).

Faces are not searched for: every picture comes with the landmarks that a person put there, and the network sees the
square around them, larger by a margin. So a codec is judged by what it does to a face, not by whether one is found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.accuracy.clip import Clip
from bench.accuracy.judge import Judge
from bench.accuracy.metric import Accuracy
from bench.accuracy.network import PictureNetwork
from bench.accuracy.tally import MeanTally
from bench.accuracy.truth import POINTS

Points = NDArray[Any]
Square = tuple[int, int, int, int]


class LandmarkJudge(Judge[Points]):
    """A network of 68 landmarks; a finding is (68, 2) in pixels of the frame."""

    task: ClassVar[str] = "landmarks"

    def __init__(self, network: PictureNetwork) -> None:
        super().__init__(network.description.name, network.version, decides=network.description.decides)
        self._network = network

    def look(self, frames: Sequence[av.VideoFrame], clip: Clip) -> list[Points]:
        """Where it sees landmarks; nothing, (0, 2), in a clip without any to say where the faces are."""
        if clip.landmarks is None:
            return [np.zeros((0, 2)) for _ in frames]
        margin = self._network.description.margin
        return [self._seen(frame, square_around(points, margin))
                for frame, points in zip(frames, clip.landmarks, strict=True)]

    def assessed(self, found: Sequence[Points], source: Sequence[Points], clip: Clip) -> tuple[Accuracy, MeanTally]:
        if clip.landmarks is None:
            return Accuracy(reason="no landmarks68.csv says where the faces are"), MeanTally({})
        eyes = self._network.description.eyes
        to_source, to_truth = (errors(found, wanted, clip.landmarks, eyes) for wanted in (source, clip.landmarks))
        return (Accuracy(kinds=("face",), objects=len(found), nme=float(to_source.mean()),
                         real_nme=float(to_truth.mean())),
                MeanTally({"landmarks": 1 - to_source, "real_landmarks": 1 - to_truth}))

    def count(self, finding: Points) -> int:
        return len(finding)

    def caption(self, finding: Points) -> str:
        return f"{len(finding)} landmarks"

    def drawn(self, picture: Image.Image, finding: Points) -> Image.Image:
        pen = ImageDraw.Draw(picture)
        for x, y in finding:
            pen.rectangle((x - 1, y - 1, x + 1, y + 1), fill="#00e5ff")
        return picture

    def written(self, finding: Points) -> str:
        return json.dumps(np.round(finding, 4).tolist())

    def read(self, line: str) -> Points:
        return np.array(json.loads(line), np.float64).reshape(-1, 2)

    def _seen(self, frame: av.VideoFrame, square: Square) -> Points:
        # Beyond the frame's edges the crop is black.
        crop = Image.fromarray(frame.to_ndarray(format="rgb24")).crop(square)
        out = self._network(av.VideoFrame.from_ndarray(np.asarray(crop), format="rgb24"))
        if out.size != 2 * POINTS:
            raise ValueError(f"judge {self.name}: an output of shape {out.shape}; expected {2 * POINTS} numbers")
        side = np.array([square[2] - square[0], square[3] - square[1]])
        return np.round(out.reshape(POINTS, 2) * side + np.array(square[:2]), 4).astype(np.float64)


def square_around(points: Points, margin: float) -> Square:
    """The square around landmarks whose side is `margin` longer sides of their box, in whole pixels."""
    low, high = points.min(axis=0), points.max(axis=0)
    half, (x, y) = max(2.0, float((high - low).max()) * margin / 2), (low + high) / 2
    return round(x - half), round(y - half), round(x + half), round(y + half)


def errors(found: Sequence[Points], wanted: Sequence[Points], truth: Sequence[Points], eyes: tuple[int, int]
           ) -> NDArray[np.float64]:
    """The mean distance of landmarks in every picture, over the true distance of two of them, (F,). Raises ValueError
    for a face whose eyes are one point."""
    each = []
    for here, there, face in zip(found, wanted, truth, strict=True):
        between = float(np.linalg.norm(face[eyes[0]] - face[eyes[1]]))
        if not between:
            raise ValueError(f"landmarks {eyes[0]} and {eyes[1]} are one point: no distance to measure by")
        each.append(float(np.linalg.norm(here - there, axis=1).mean()) / between)
    return np.array(each, np.float64)
