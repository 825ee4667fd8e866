"""What a file of decoded pictures was made of: the comment in its metadata, and ``OUTPUT.json`` beside it.

Every generated frame tells its own origin (`duoview.FrameOrigin`); here those of a file are put together. Nothing is
written for files without one generated picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duoview
from duoview.decoder import FrameOrigin
from duoview.findings import FrameFindings
from duoview.human import Provenance

from .destination import is_pipe
from .errors import media_error


@dataclass
class Segment:
    """Frames in a row of one provenance; None where nothing of them was generated.

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

    def add(self, origin: FrameOrigin) -> None:
        """One frame more."""
        self.frames += 1
        self.concealed += origin.concealed
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

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        found: dict[str, Any] = {
            "first_frame": self.first, "frames": self.frames, "concealed": self.concealed,
            "provenance": self.provenance.as_dict() if self.provenance is not None else {}}
        if self.known:
            found["generated_share"] = {"mean": round(self.share / self.known, 4), "least": self.least,
                                        "greatest": self.greatest}
        if self.looked:
            found["guard"] = {"frames": self.looked, "differing": self.differed, "replaced": self.replaced,
                              "lost": self.lost, "invented": self.invented}
        return found


class ProvenanceLog:
    """Notes the origin of every frame that is written."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.frames = self.concealed = 0

    @property
    def generated(self) -> bool:
        """True once a frame came of which something was generated."""
        return any(segment.provenance is not None for segment in self.segments)

    def note(self, opaque: object) -> None:
        """The ``frame.opaque`` of the next frame, whatever it is."""
        origin = opaque if isinstance(opaque, FrameOrigin) else FrameOrigin(concealed=False)
        if not self.segments or self.segments[-1].provenance != origin.provenance:
            self.segments.append(Segment(self.frames, origin.provenance))
        self.segments[-1].add(origin)
        self.frames += 1
        self.concealed += origin.concealed

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
