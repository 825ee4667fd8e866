"""``dv_detect``: frames in, the same frames out with what a detector found in them in ``frame.opaque``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import av

from duoview.detections import Detections
from duoview.detectors import load
from duoview.findings import FrameFindings
from duoview.plugins.links import LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.stage import Stage

#: What finds objects: a Detector, or something in front of one that several graphs share.
Finder: TypeAlias = Callable[[Sequence[av.VideoFrame]], list[Detections]]


def load_finder(options: Any, *, confidence: float | None, iou: float | None = None) -> Finder:
    """The detector of a stage whose options have model, description, device, threads and classes, divided by ``|``.

    Raises DetectorError or BackendUnavailableError.
    """
    names = [word for word in options.classes.split("|") if word]
    return load(
        options.model,
        description=options.description or None,
        device=options.device,
        threads=options.threads,
        confidence=confidence,
        iou=iou,
        classes=[int(word) if word.isdecimal() else word for word in names] or None,
    )


class Detect(Stage):
    """Find objects in frames and note them in frame.opaque.

    Samples, times and all else are the input's; the new frame shares its samples. The network is loaded with the
    options, so that what is wrong with it is said before the first frame.
    """

    name = "dv_detect"
    timeline = True
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_detect."""

        model: str = option(help="path of the network: an .onnx file, or OpenVINO's .xml")
        confidence: float | None = option(None, min=0, max=1, help="least score; the model's own where not given")
        iou: float | None = option(
            None, min=0, max=1, help="overlap above which a box gives way; the model's own where not given"
        )
        classes: str = option("", help="names or ids of the classes to give, separated by |; all where empty")
        description: str = option("", help="TOML file that describes the model; the one beside it where empty")
        batch: int = option(1, min=1, max=64, help="frames to wait for and detect in at once")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the network runs")
        threads: int = option(0, min=0, max=1024, help="threads of the network, 0 for one per core")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.detector: Finder | None = self.load_detector()
        self._held: list[av.VideoFrame] = []
        self._references = References()

    def load_detector(self) -> Finder:
        """The detector for the options. Raises DetectorError or BackendUnavailableError."""
        return load_finder(self.options, confidence=self.options.confidence, iou=self.options.iou)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame with its detections, or a whole batch of them. A failure drops the batch."""
        self._held.append(frame)
        return self._detect() if len(self._held) >= self.options.batch else ()

    def drain(self) -> Iterable[av.VideoFrame]:
        """The last batch, which may be a smaller one."""
        return self._detect() if self._held else ()

    def reset(self) -> None:
        """Forget the frames of a batch that is not full."""
        super().reset()
        self._held = []
        self._references.reset()

    def close(self) -> None:
        """Drop the network and the frames; used again, the stage loads it again."""
        self.detector = None
        self._held = []
        self._references.close()

    def _detect(self) -> Iterable[av.VideoFrame]:
        frames, self._held = self._held, []
        if self.detector is None:
            self.detector = self.load_detector()
        for frame, found in zip(frames, self.detector(frames), strict=True):
            findings = FrameFindings.over(frame.opaque, found)
            passed = self._references.reference(frame)
            passed.opaque = findings
            yield passed
