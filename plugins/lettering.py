"""Text as coverage of pixels, by Pillow, whose own font is used: nothing needs to be installed beside it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.errors import BackendUnavailableError

#: Texts that are kept as pictures; those longest unused go first.
_KEPT = 256
#: Letters of a text; names of models come from files that anybody may have made.
_LONGEST = 120


class Lettering:
    """Renders texts in one size, and keeps the last ones.

    Args:
        stage: who draws, for errors. size: height of the letters in pixels.

    Raises BackendUnavailableError without Pillow.
    """

    def __init__(self, stage: str, size: int) -> None:
        try:
            from PIL import ImageFont, features
        except ImportError as error:
            raise BackendUnavailableError(f"{stage}: text needs Pillow, which cannot be imported ({error}): "
                                          "pip install 'duoview[draw]', or text=none") from error
        if not features.check("freetype2"):
            raise BackendUnavailableError(f"{stage}: text needs a Pillow with FreeType; or text=none")
        self._font: Any = ImageFont.load_default(size)
        ascent, descent = self._font.getmetrics()
        #: Rows of every text.
        self.height: int = ascent + descent
        self._made: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def render(self, text: str) -> NDArray[np.float32]:
        """(height, width) how much of each pixel the letters cover, 0 to 1; not to be written to. One line, cut."""
        text = " ".join(text.split())[:_LONGEST]
        if text in self._made:
            self._made.move_to_end(text)
            return self._made[text]
        from PIL import Image, ImageDraw

        width = max(1, round(self._font.getlength(text)))
        picture = Image.new("L", (width, self.height), 0)
        ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=self._font)
        made = np.asarray(picture, np.float32) / np.float32(255)
        made.flags.writeable = False
        self._made[text] = made
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return made
