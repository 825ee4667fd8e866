"""The payload of a caption section: all phrases as one integer of mixed radix, in its shortest form.

An entropy coder's own end would cost more here than it saves: a phrase is 15.3 bits, six and their count fit 12 bytes.
"""

from __future__ import annotations

from duoview.errors import BitstreamError, LimitError

from .caption import CLASSES, COUNTS, MAX_PHRASES, MOTIONS, PLACES, Caption, Phrase

#: Greatest length of a payload, in bytes.
MAX_BYTES = 12
#: Values of the lowest digit: the number of phrases, and one that is reserved.
_NUMBERS = MAX_PHRASES + 2


def write_caption(caption: Caption) -> bytes:
    """Payload of a caption; empty for one without phrases."""
    value = 0
    for phrase in reversed(caption.phrases):
        for digit, radix in ((phrase.count, len(COUNTS)), (phrase.motion, len(MOTIONS)), (phrase.place, len(PLACES)),
                             (phrase.class_id, len(CLASSES))):
            value = value * radix + digit
    value = value * _NUMBERS + len(caption.phrases)
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


def read_caption(payload: bytes) -> Caption:
    """The caption of a payload. Raises BitstreamError for any that ``write_caption`` does not make."""
    if len(payload) > MAX_BYTES:
        raise BitstreamError(f"caption of {len(payload)} bytes, at most {MAX_BYTES} are allowed", offset=0)
    if payload.endswith(b"\0"):
        raise BitstreamError("caption is not in its shortest form", offset=len(payload) - 1)
    value, count = divmod(int.from_bytes(payload, "little"), _NUMBERS)
    if count > MAX_PHRASES:
        raise BitstreamError(f"caption with {count} phrases, at most {MAX_PHRASES} are allowed", offset=0)
    phrases = []
    for _ in range(count):
        value, class_id = divmod(value, len(CLASSES))
        value, place = divmod(value, len(PLACES))
        value, motion = divmod(value, len(MOTIONS))
        value, number = divmod(value, len(COUNTS))
        phrases.append(Phrase(class_id, place, motion, number))
    if value:
        raise BitstreamError(f"caption goes on behind its {count} phrases", offset=0)
    try:
        return Caption(tuple(phrases))
    except LimitError as error:
        raise BitstreamError(str(error), offset=0) from None


class CaptionHistory:
    """Which captions a stream has told: nothing is sent twice, but in key units, where readers may join."""

    def __init__(self) -> None:
        self._told: Caption | None = None

    def payload(self, caption: Caption | None, *, key: bool) -> bytes | None:
        """The section's payload for a unit's caption; None where the unit needs none.

        Nothing counts as told before `tell`. Once a caption was told, a unit cannot take it back other than by another
        one: None (nothing known) then stands for a caption without phrases.
        """
        told = None if key else self._told
        if caption is None:
            caption = Caption() if told is not None else None
        return None if caption is None or caption == told else write_caption(caption)

    def tell(self, payload: bytes | None, *, key: bool) -> None:
        """A unit with this payload, or none, is out."""
        if payload is not None:
            self._told = read_caption(payload)
        elif key:
            self._told = None
