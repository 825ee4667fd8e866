"""Classification: the share of pictures in which the network sees first what it sees first in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import av
import numpy as np
from PIL import Image, ImageDraw

from bench.accuracy.clip import Clip
from bench.accuracy.judge import Judge
from bench.accuracy.metric import Accuracy
from bench.accuracy.network import PictureNetwork
from bench.accuracy.tally import MeanTally


class ClassificationJudge(Judge[int]):
    """A network that names a picture; a finding is the class of highest score."""

    task: ClassVar[str] = "classification"

    def __init__(self, network: PictureNetwork) -> None:
        super().__init__(network.description.name, network.version, decides=network.description.decides)
        self._network = network

    def look(self, frames: Sequence[av.VideoFrame], clip: Clip) -> list[int]:
        return [self._seen(frame) for frame in frames]

    def assessed(self, found: Sequence[int], source: Sequence[int], clip: Clip) -> tuple[Accuracy, MeanTally]:
        same = [here == there for here, there in zip(found, source, strict=True)]
        return Accuracy(kinds=tuple(f"class {kind}" for kind in sorted(set(source))), objects=len(source),
                        top1=sum(same) / len(source)), MeanTally({"top1": np.array(same, np.float64)})

    def count(self, finding: int) -> int:
        return 1

    def caption(self, finding: int) -> str:
        return f"class {finding}"

    def drawn(self, picture: Image.Image, finding: int) -> Image.Image:
        ImageDraw.Draw(picture).text((4, 4), self.caption(finding), fill="#00e5ff")
        return picture

    def written(self, finding: int) -> str:
        return str(finding)

    def read(self, line: str) -> int:
        return int(line)

    def _seen(self, frame: av.VideoFrame) -> int:
        out = self._network(frame)
        if out.ndim != 1 or len(out) < 2:
            raise ValueError(f"judge {self.name}: an output of shape {out.shape}; expected (classes,)")
        return int(out.argmax())
