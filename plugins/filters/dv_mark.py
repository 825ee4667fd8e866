"""``dv_mark``: says in the picture that it was generated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av

from duoview.frame_origin import FrameOrigin
from duoview.plugins.canvas import Canvas
from duoview.plugins.errors import OptionError
from duoview.plugins.lettering import Lettering
from duoview.plugins.links import LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.samples import parse_colour
from duoview.plugins.stage import Stage

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


class Mark(Stage):
    """Mark pictures that were generated: a label in a corner, and a border.

    Frames of a human view, or of a texture view with samples, are those whose provenance says so; all others pass as
    they are, as does the machine view that dv_guard falls back to. Nothing else of the picture changes by one bit.
    """

    name = "dv_mark"
    input = LinkType.VIDEO
    output = LinkType.VIDEO
    timeline = True

    @dataclass(frozen=True)
    class Options:
        """Options of dv_mark."""

        text: str = option("generated", help="of the label; none for a border alone. Needs duoview[draw]")
        corner: str = option("bottom-right", choices=CORNERS, help="where the label stands")
        size: int = option(14, min=6, max=200, help="of letters, in pixels")
        color: str = option("orange", help="of label and border: a colour's name or #rrggbb")
        border: int = option(2, min=0, max=64, help="thickness of the border in pixels, 0 for none")
        share: bool = option(False, help="tell the share of detail that was generated too, in percent")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        text = "" if options.text == "none" else options.text.strip()
        if not text and not options.border:
            raise OptionError("dv_mark: neither text nor border: expected a mark that is seen")
        if not text and options.share:
            raise OptionError("dv_mark: share=1 is told by the label: expected text")
        self._text, self._colour = text, parse_colour(self.name, "color", options.color)
        self._lettering = Lettering(self.name, options.size) if text else None
        self._references = References()

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame, or a copy of it with the mark."""
        origin = frame.opaque
        if not isinstance(origin, FrameOrigin) or origin.provenance is None:
            yield self._references.reference(frame)
            return
        marked = self._references.copy(frame)
        canvas = Canvas(self.label, marked)
        if self.options.border:
            canvas.rectangle(0, 0, frame.width, frame.height, self.options.border, self._colour)
        if self._lettering is not None:
            text = self._text
            if self.options.share and origin.generated_share is not None:
                text = f"{text} {100 * origin.generated_share:.0f} %"
            # Canvas moves a label to where all of it is seen.
            x = frame.width if self.options.corner.endswith("right") else 0
            y = frame.height if self.options.corner.startswith("bottom") else 0
            canvas.label(x, y, text, self._lettering, self._colour)
        yield marked

    def reset(self) -> None:
        """Forget the last frame."""
        super().reset()
        self._references.reset()

    def close(self) -> None:
        """Free what references are made with."""
        self._references.close()
