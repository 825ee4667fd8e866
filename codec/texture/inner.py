"""Texture beside an inner codec: on its key units, in the order in which their packets come and their pictures go.

The base is E of the decoded picture; exact networks see its block means. Encoders decode each key unit as every decoder
will. Until the next key unit, texture shows wherever a picture is as the key unit's was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import AccessUnit, Section, SectionType
from duoview.errors import LimitError
from duoview.inner.key_pictures import KeyPictures
from duoview.inner.player import Shown
from duoview.inner.stream import CodedFrame
from duoview.picture import PictureReader, scaled_picture
from duoview.texture.block_means import CHROMA, LUMA, SQUARE, block_means
from duoview.texture.decoder import TextureDecoder
from duoview.texture.encoder import TextureEncoder
from duoview.texture.geometry import LATENT_PIXELS
from duoview.texture.view import Floats, Samples, Seen, TextureView

Depth = NDArray[np.uint8]
#: A place is as it was in the key unit's picture if no block mean in it is another by more than so many levels.
STILL = 6
_TYPES = (SectionType.DEPTH_MAP, SectionType.PALETTE, SectionType.TEXTURE)
#: Key units of which no picture came are forgotten beyond so many: no standard codec shows one later than 16 others.
_MOST_COMING = 32


class InnerTextureEncoder:
    """The texture of one inner stream.

    Frames wait as samples until their packets come, three bytes a pixel: with lookahead some dozens. LimitError where
    other than key frames are to have texture.
    """

    def __init__(self, texture: TextureEncoder, view: TextureView) -> None:
        if texture.settings.frames != "key":
            raise LimitError(f"texture frames={texture.settings.frames!r} with machine='inner': expected 'key'; P "
                             "frames of a standard codec hand no integers on")
        self._texture, self._view = texture, view
        self._keys, self._reader = KeyPictures(), PictureReader()
        self._waiting: dict[Fraction, tuple[Samples, Floats | None]] = {}

    def see(self, picture: Samples, seconds: Fraction, weights: Floats | None = None) -> None:
        """Take a frame (1, 3, H, W) that is about to be encoded, by its time. weights: see ``TextureEncoder``."""
        self._waiting[seconds] = picture, weights

    def keep(self, coming: Iterable[Fraction] = ()) -> None:
        """After a failure: forget all frames but those, by their times, whose packets still come."""
        kept = set(coming)
        self._waiting = {seconds: waiting for seconds, waiting in self._waiting.items() if seconds in kept}

    def sections(self, one: CodedFrame) -> list[Section]:
        """Of the next packet, in decode order."""
        picture, weights = self._waiting.pop(one.times.seconds)
        self._texture.tell(float(one.times.seconds))
        if not one.key:
            self._texture.skip()
            return []
        size = (one.sequence.width, one.sequence.height)
        shown = self._keys.of(one.payload, one.background, *size)
        assert shown.frame is not None
        base = self._view.latent(scaled_picture(self._reader, shown.frame, shown.size, size))
        seen = _seen(shown, size, int(self._texture.tables.levels[one.q]))
        return self._texture.encode(self._view.latent(picture), base, seen, *size, weights)


class InnerTextureDecoder:
    """What pictures of an inner stream lack, as they are shown."""

    def __init__(self, texture: TextureDecoder) -> None:
        self._texture = texture
        #: Key units whose pictures are still to come: by group, the unit, the time of its frame and its quality index.
        self._coming: dict[int, tuple[AccessUnit, Fraction | None, int]] = {}
        self._group: int | None = None
        self._means: Floats | None = None
        self._residual: Floats | None = None
        self._depths: Depth | None = None
        #: How deep each position of what `residual` gave is known, (H / 8, W / 8).
        self.depths: Depth | None = None

    def reset(self) -> None:
        """Forget everything, after a seek."""
        self._coming.clear()
        self._group = self._means = self._residual = self._depths = self.depths = None

    def expect(self, unit: AccessUnit, group: int, seconds: Fraction | None, q: int) -> None:
        """A key unit was fed; its picture is the first of its group. Of the unit, no more than texture is kept."""
        kept = tuple(section for section in unit.sections if section.type in _TYPES)
        self._coming[group] = (dataclasses.replace(unit, sections=kept), seconds, q)
        while len(self._coming) > _MOST_COMING:
            del self._coming[next(iter(self._coming))]

    def residual(self, shown: Shown, size: tuple[int, int]) -> Floats | None:
        """What the base of the next decoded picture lacks, None where nothing is known. Faults are the decoder's."""
        self._texture.faults = []
        try:
            return self._residual_of(shown, size)
        except LimitError as error:  # a picture of which there are no block means: no reason to do without it
            self._group = None
            self._texture.faults.append(str(error))
            return None

    def _residual_of(self, shown: Shown, size: tuple[int, int]) -> Floats | None:
        assert shown.frame is not None
        group = shown.times.group
        for number in [number for number in self._coming if number <= group]:
            unit, seconds, q = self._coming.pop(number)
            self._group = None
            if number == group and seconds == shown.times.seconds:
                seen = _seen(shown, size, int(self._texture.tables.levels[q]))
                self._group, self._means, self._residual = group, seen.means, self._texture.decode(unit, seen)
                self._depths = self.depths = self._texture.depths
                return self._residual
        if self._group != group or self._means is None or self._residual is None or self._depths is None:
            self.depths = None
            return None
        apart = _places(np.abs(block_means(shown.frame, shown.size, size) - self._means)[0] > STILL)
        self.depths = np.where(apart, np.uint8(0), self._depths)
        return np.where(apart, 0, self._residual)


def _seen(shown: Shown, size: tuple[int, int], q: int) -> Seen:
    """Of a key unit's picture."""
    assert shown.frame is not None
    means = block_means(shown.frame, shown.size, size)
    places = SQUARE // LATENT_PIXELS
    rows, columns = (places * side for side in means.shape[2:])
    return Seen(True, None, means, np.ones((rows, columns), np.bool_), q)


def _places(apart: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Latent positions (H / 8, W / 8) of which a block mean (MEANS, H / 16, W / 16) is marked, and those around."""
    places = SQUARE // LATENT_PIXELS
    rows, columns = apart.shape[1:]
    found = np.zeros((rows, places, columns, places), np.bool_)
    at = 0
    for block in (LUMA, CHROMA, CHROMA):
        each = SQUARE // block
        part = apart[at:at + each * each].reshape(places, each // places, places, each // places, rows, columns)
        marked = np.asarray(part.any(axis=(1, 3)))
        found |= marked.transpose(2, 0, 3, 1)
        at += each * each
    wide = np.pad(found.reshape(rows * places, columns * places), 1)
    tall = wide[:-2] | wide[1:-1] | wide[2:]
    around: NDArray[np.bool_] = tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
    return around
