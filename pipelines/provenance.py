"""What a file of decoded pictures was made of: the comment in its metadata, and ``OUTPUT.json`` beside it.

Every generated frame tells its own origin (`duoview.FrameOrigin`); here those of a file are put together. Nothing is
written for files without one generated picture. Where origins change for hours, as with a guard that falls back again
and again, neighbouring stretches are joined: what was counted stays exact, where it was within them becomes coarser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duoview
from duoview.findings import FrameFindings
from duoview.frame_origin import FrameOrigin
from duoview.human import Provenance

from .destination import is_pipe
from .errors import media_error

#: More stretches than so many are joined: at most 450 kB of a file, and the user's own text in each, however long it
#: goes on.
MOST_SEGMENTS = 400
_FIELDS = tuple(one.name for one in fields(Provenance))


@dataclass(slots=True)
class Segment:
    """Frames in a row of one provenance, None where nothing of them was generated; or several such that were joined.

    joined: of how many stretches these are the frames. generated: how many frames were. varies: names of what is not
    the same in all that were; provenance tells what one of them had there.

    known, share, least, greatest: of the frames whose share of generated detail is known, how many, the sum of their
    shares, and the range: a live output runs for months, so that no list of them is kept. looked, differed, replaced:
    frames that dv_guard looked at, in which it found a difference, and for which it gave the machine view.
    """

    first: int
    provenance: Provenance | None
    frames: int = 0
    concealed: int = 0
    known: int = 0
    share: float = 0.0
    least: float = 1.0
    greatest: float = 0.0
    looked: int = 0
    differed: int = 0
    replaced: int = 0
    lost: int = 0
    invented: int = 0
    joined: int = 1
    generated: int = 0
    varies: tuple[str, ...] = ()

    def add(self, origin: FrameOrigin) -> None:
        """One frame more."""
        self.frames += 1
        self.concealed += origin.concealed
        self.generated += origin.provenance is not None
        if origin.generated_share is not None:
            self.known += 1
            self.share += origin.generated_share
            self.least = min(self.least, origin.generated_share)
            self.greatest = max(self.greatest, origin.generated_share)
        verdict = origin.verdict if isinstance(origin, FrameFindings) else None
        if verdict is not None:
            kinds = [one.kind.value for one in verdict.differences]
            self.looked += 1
            self.differed += bool(kinds)
            self.replaced += verdict.view == "machine"
            self.lost += kinds.count("lost")
            self.invented += kinds.count("invented")

    def join(self, after: Segment) -> None:
        """Take over the frames of the segment behind this one."""
        if self.provenance is not None and after.provenance is not None:
            self.varies = tuple([name for name in _FIELDS if name in self.varies or name in after.varies
                                 or getattr(self.provenance, name) != getattr(after.provenance, name)])
        elif self.provenance is None:
            self.provenance, self.varies = after.provenance, after.varies
        for count in ("frames", "concealed", "known", "share", "looked", "differed", "replaced", "lost", "invented",
                      "joined", "generated"):
            setattr(self, count, getattr(self, count) + getattr(after, count))
        self.least, self.greatest = min(self.least, after.least), max(self.greatest, after.greatest)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        made = self.provenance.as_dict() if self.provenance is not None else {}
        found: dict[str, Any] = {
            "first_frame": self.first, "frames": self.frames, "concealed": self.concealed,
            "provenance": {name: value for name, value in made.items() if name not in self.varies}}
        if self.joined > 1:
            found |= {"joined": self.joined, "generated_frames": self.generated, "varies": list(self.varies)}
        if self.known:
            found["generated_share"] = {"mean": round(self.share / self.known, 4), "least": self.least,
                                        "greatest": self.greatest}
        if self.looked:
            found["guard"] = {"frames": self.looked, "differing": self.differed, "replaced": self.replaced,
                              "lost": self.lost, "invented": self.invented}
        return found


class ProvenanceLog:
    """Notes the origin of every frame that is written.

    Attributes: segments: MOST_SEGMENTS of them at most. generated: True once a frame came of which something was.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.frames = self.concealed = 0
        self.generated = False

    def note(self, opaque: object) -> None:
        """The ``frame.opaque`` of the next frame, whatever it is."""
        origin = opaque if isinstance(opaque, FrameOrigin) else FrameOrigin(concealed=False)
        if not self.segments or self.segments[-1].provenance != origin.provenance:
            if len(self.segments) == MOST_SEGMENTS:
                self._join()
            self.segments.append(Segment(self.frames, origin.provenance))
        self.segments[-1].add(origin)
        self.generated |= origin.provenance is not None
        self.frames += 1
        self.concealed += origin.concealed

    def _join(self) -> None:
        """Put the two neighbours together that have the fewest frames, so that all of the file is told as finely."""
        sizes = [segment.frames for segment in self.segments]
        at = min(range(len(sizes) - 1), key=lambda index: sizes[index] + sizes[index + 1])
        self.segments[at].join(self.segments.pop(at + 1))

    def write(self, url: str, **more: Any) -> bool:
        """Write ``URL.json``; False for a pipe or stream, which has no place beside it.

        more: further keys, such as source and view, which come first. Raises MediaError.
        """
        if is_pipe(url):
            return False
        path = Path(f"{url}.json")
        document = {"file": url, "software": f"duoview {duoview.__version__}", **more, "frames": self.frames,
                    "segments": [segment.as_dict() for segment in self.segments]}
        try:
            path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise media_error(str(path), "cannot write the provenance", error) from error
        return True


def comment(opaque: object) -> str | None:
    """What stands in the metadata of a file whose first frame has this ``frame.opaque``; None if nothing is generated.

    JSON on one line: ``{"duoview": VERSION, "generated": {...}}`` with the fields of `Provenance`.
    """
    if not isinstance(opaque, FrameOrigin) or opaque.provenance is None:
        return None
    made: Mapping[str, object] = {"duoview": duoview.__version__, "generated": opaque.provenance.as_dict()}
    return json.dumps(made, separators=(",", ":"))
