"""Segmentation: mean intersection over union with what the network sees in the source."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.accuracy.clip import Clip
from bench.accuracy.judge import Judge
from bench.accuracy.metric import Accuracy
from bench.accuracy.network import PictureNetwork
from bench.accuracy.tally import LEAST_SHARE, OverlapTally

Labels = NDArray[np.uint8]
_MAX_CLASSES = 256


class SegmentationJudge(Judge[Labels]):
    """A network that labels pixels; a finding is (H, W) uint8 of its own output's size."""

    task: ClassVar[str] = "segmentation"

    def __init__(self, network: PictureNetwork) -> None:
        super().__init__(network.description.name, network.version, decides=network.description.decides)
        self._network = network

    def look(self, frames: Sequence[av.VideoFrame], clip: Clip) -> list[Labels]:
        return [self._seen(frame) for frame in frames]

    def assessed(self, found: Sequence[Labels], source: Sequence[Labels], clip: Clip) -> tuple[Accuracy, OverlapTally]:
        tally = overlaps(found, source)
        kinds = np.flatnonzero(tally.judged)
        return Accuracy(kinds=tuple(f"class {kind}" for kind in kinds), objects=len(kinds),
                        miou=tally.value("miou", len(source))), tally

    def count(self, finding: Labels) -> int:
        return len(np.unique(finding))

    def caption(self, finding: Labels) -> str:
        return f"{self.count(finding)} classes"

    def drawn(self, picture: Image.Image, finding: Labels) -> Image.Image:
        # Colours that lie far apart for neighbouring classes, the same for a class everywhere.
        shades = (np.arange(_MAX_CLASSES)[:, None] * (67, 151, 211) + (90, 40, 160)) % 256
        over = Image.fromarray(shades.astype(np.uint8)[finding]).resize(picture.size, Image.Resampling.NEAREST)
        return Image.blend(picture, over, 0.45)

    def written(self, finding: Labels) -> str:
        return json.dumps([*finding.shape, base64.b64encode(zlib.compress(finding.tobytes())).decode()])

    def read(self, line: str) -> Labels:
        height, width, text = json.loads(line)
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(height, width)

    def _seen(self, frame: av.VideoFrame) -> Labels:
        out = self._network(frame)
        if out.ndim != 3 or not 2 <= len(out) <= _MAX_CLASSES:
            raise ValueError(f"judge {self.name}: an output of shape {out.shape}; expected (classes, H, W)")
        return out.argmax(axis=0).astype(np.uint8)


def overlaps(found: Sequence[Any], source: Sequence[Any]) -> OverlapTally:
    """Pixels by frame and class, of labels (H, W) uint8 in coded frames and in the source, and which classes count."""
    shared, ours, theirs = (np.zeros((len(source), _MAX_CLASSES), np.int64) for _ in range(3))
    for frame, (here, there) in enumerate(zip(found, source, strict=True)):
        ours[frame] = np.bincount(here.ravel(), minlength=_MAX_CLASSES)
        theirs[frame] = np.bincount(there.ravel(), minlength=_MAX_CLASSES)
        shared[frame] = np.bincount(there[here == there], minlength=_MAX_CLASSES)
    total = theirs.sum(axis=0)
    return OverlapTally(shared, ours, theirs, total >= max(1, LEAST_SHARE * total.sum()))
