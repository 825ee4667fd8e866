"""``dv_guard``: watches over generated pictures with a detector that looks at both views."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from duoview.findings import FrameFindings
from duoview.plugins.canvas import Canvas, Colour
from duoview.plugins.errors import OptionError
from duoview.plugins.lettering import Lettering
from duoview.plugins.links import LinkType
from duoview.plugins.options import option
from duoview.plugins.paired_stage import PairedStage
from duoview.plugins.references import References
from duoview.verdict import Change, Difference, Kind, Patience, Tolerance, Verdict

from .dv_detect import Finder, load_finder

ACTIONS = ("report", "mark", "fallback")
_COLOURS: dict[Kind, Colour] = {Kind.LOST: (255, 0, 0), Kind.INVENTED: (255, 165, 0)}
_LETTERS = 14  # pixels


class Guard(PairedStage):
    """Compare the human view with the machine view, and report, mark or replace what was lost or invented.

    A detector looks at both frames of a time; where the means of their blocks differ, which generation leaves alone, it
    need not be sure. What it found in the machine view is added to the detections of
    frame.opaque, and a Verdict is put into it: the machine view is what was coded, the human view is generated. Frames
    come out as the human view's, at its times; where the views differ, with boxes drawn, or with the machine view in
    their place, as `action` says.
    """

    name = "dv_guard"
    input = LinkType.VIDEO
    output = LinkType.VIDEO
    pads = ("machine", "human")

    @dataclass(frozen=True)
    class Options:
        """Options of dv_guard."""

        model: str = option(help="path of the network: an .onnx file, or OpenVINO's .xml")
        action: str = option("report", choices=ACTIONS, help="on a difference: only report, mark it in the human view, "
                             "or give the machine view")
        confidence: float = option(0.5, min=0, max=1, help="least score of an object of the machine view that the "
                                   "human view must show")
        invented: float = option(0.35, min=0, max=1, help="least score of an object of the human view that the machine "
                                 "view must show")
        counterpart: float = option(0.2, min=0, max=1, help="least score of that counterpart")
        iou: float = option(0.5, min=0, max=1, help="least overlap of an object and its counterpart")
        classes: str = option("", help="names or ids of the classes to watch, separated by |; all where empty")
        agnostic: bool = option(False, help="whether a counterpart may be of any class")
        frames: int = option(1, min=1, max=1000, help="frames in a row in which a difference must be")
        hold: int = option(0, min=0, max=100000, help="fallback: further frames of the machine view after a difference")
        text: bool = option(True, help="mark: name what was lost or invented; needs duoview[draw]")
        description: str = option("", help="TOML file that describes the model; the one beside it where empty")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the network runs")
        threads: int = option(0, min=0, max=1024, help="threads of the network, 0 for one per core")
        alike: str = option("car+truck+bus", help="names of classes that count as one, joined by +; several such "
                            "divided by |; none where empty")
        hinted: float = option(0.1, min=0, max=1, help="least score of an object of the human view that the machine "
                               "view must show where the views differ by `changed`; 1 to go by scores alone")
        changed: float = option(8, min=0, max=255, help="difference of the means of 16x16 pixels, in 8-bit steps, that "
                                "detail which generation adds does not make")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        least = min(options.confidence, options.invented)
        if options.counterpart > least:
            raise OptionError(f"dv_guard: counterpart={options.counterpart:g}: expected at most confidence and "
                              f"invented, {least:g}")
        self.tolerance = Tolerance(options.confidence, options.invented, options.counterpart, options.iou,
                                   not options.agnostic, options.frames, _groups(options.alike), options.hinted,
                                   options.changed)
        self._lettering = Lettering(self.name, _LETTERS) if options.action == "mark" and options.text else None
        self._patience = Patience(options.frames)
        self._holding = 0  # frames of the machine view still to come
        self._references = References()
        self.detector: Finder | None = self.load_detector()

    def load_detector(self) -> Finder:
        """The detector for the options. Raises DetectorError or BackendUnavailableError."""
        return load_finder(self.options, confidence=min(self.options.counterpart, self.options.hinted))

    def pair(self, first: av.VideoFrame, second: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame of the human view `second`, or what takes its place; `first` is of the machine view."""
        if self.detector is None:
            self.detector = self.load_detector()
        coded, shown = self.detector([first, second])
        change = Change.between(first, second) if self.options.hinted < self.options.invented else None
        differences = self._patience.told(self.tolerance.differences(coded, shown, change))
        coded = coded.above(self.options.counterpart)
        falls_back = self._falls_back(bool(differences))
        verdict = Verdict("machine" if falls_back else "human", coded.model, differences)
        if (coded.width, coded.height) != (shown.width, shown.height):
            coded = coded.scaled(shown.width, shown.height)
        findings = dataclasses.replace(FrameFindings.over(second.opaque, coded), verdict=verdict)
        if falls_back:
            origin = FrameFindings.of(first.opaque)
            findings = dataclasses.replace(findings, concealed=origin.concealed, provenance=origin.provenance,
                                           generated_share=origin.generated_share)
            passed = self._like(first, second)
        elif differences and self.options.action == "mark":
            passed = self._marked(second, differences)
        else:
            passed = self._references.reference(second)
        passed.opaque = findings
        yield passed

    def reset(self) -> None:
        """Forget the frames before."""
        super().reset()
        self._patience.reset()
        self._holding = 0
        self._references.reset()

    def close(self) -> None:
        """Drop the network; used again, the stage loads it again."""
        self.detector = None
        self._references.close()

    def _falls_back(self, differs: bool) -> bool:
        if self.options.action != "fallback":
            return False
        if differs:
            self._holding = self.options.hold
            return True
        self._holding -= 1
        return self._holding >= 0

    def _like(self, first: av.VideoFrame, second: av.VideoFrame) -> av.VideoFrame:
        """The machine view's samples in size, format and times of the human view's frame."""
        if (first.width, first.height, first.format.name) != (second.width, second.height, second.format.name):
            first = first.reformat(second.width, second.height, second.format.name)
        passed = self._references.reference(first)
        passed.time_base = second.time_base or Fraction(0)
        passed.pts, passed.duration = second.pts, second.duration
        return passed

    def _marked(self, frame: av.VideoFrame, differences: tuple[Difference, ...]) -> av.VideoFrame:
        drawn = self._references.copy(frame)
        canvas = Canvas(self.label, drawn)
        for one in differences:
            colour = _COLOURS[one.kind]
            canvas.rectangle(*one.object.box, 2, colour)
            if self._lettering is not None:
                above = one.object.box[1] - self._lettering.height
                canvas.label(one.object.box[0], above if above >= 0 else one.object.box[1],
                             f"{one.kind.value} {one.object.name}", self._lettering, colour)
        return drawn


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    groups = tuple(tuple(name.strip() for name in group.split("+")) for group in text.split("|")) if text else ()
    names = [name for group in groups for name in group]
    for group in groups:
        if twice := [name for name in group if names.count(name) > 1]:
            raise OptionError(f"dv_guard: alike={text!r}: {twice[0]!r}: expected every name once")
        if len(group) < 2 or not all(group):
            raise OptionError(f"dv_guard: alike={text!r}: {'+'.join(group)!r}: expected two names or more, joined by +")
    return groups
