"""AAC as transport streams carry it: each frame behind an ADTS header (ISO/IEC 14496-3, 1.A.2) that MP4 does not take.

MP4 wants one AudioSpecificConfig for the whole track, in its header, before the first frame is there. Pure.
"""

from __future__ import annotations

from duoview.errors import ContainerFormatError

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_LOW_COMPLEXITY = 2  # the audio object type
_HEADER = 7  # bytes, and two more with a check sum


def low_complexity_config(rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of AAC-LC. Raises ContainerFormatError for what has no code."""
    code = 7 if channels == 8 else channels
    if rate not in _RATES or not (1 <= channels <= 6 or channels == 8):
        raise ContainerFormatError(
            f"AAC of {rate} Hz and {channels} channels: expected one of {_RATES} and 1 to 6, or 8"
        )
    return _config(_LOW_COMPLEXITY, _RATES.index(rate), code)


def without_header(frame: bytes, config: bytes) -> bytes:
    """A frame without its ADTS header; one that has none is given back as it is.

    Raises ContainerFormatError for a header that does not agree with `config`: nobody could decode the frame.
    """
    if len(frame) < _HEADER or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
        return frame
    found = _config((frame[2] >> 6) + 1, frame[2] >> 2 & 15, (frame[2] & 1) << 2 | frame[3] >> 6)
    if found != config:
        raise ContainerFormatError(
            f"AAC with parameters {found.hex()}, not {config.hex()}: MP4 and MOV take only AAC-LC from a transport "
            "stream; record without sound, or to mkv, ts or nut"
        )
    return frame[_HEADER if frame[1] & 1 else _HEADER + 2 :]


def _config(object_type: int, rate: int, channels: int) -> bytes:
    return (object_type << 11 | rate << 7 | channels << 3).to_bytes(2, "big")
