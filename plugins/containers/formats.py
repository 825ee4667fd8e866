"""Which containers can hold a duoview stream, how, and how one is chosen."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import PurePath

from duoview.errors import ContainerFormatError


class Carriage(enum.Enum):
    """How access units travel in a container."""

    FOURCC = "video stream with the FourCC DUOV"
    TIMED_DATA = "timed bin_data stream, one access unit a packet"
    BUNDLED_DATA = "timed bin_data stream, several access units a packet"
    RECORDS = "length-prefixed records"


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """An output format: its name (libavformat's, or `dv`), its carriage and the file name extensions that mean it."""

    name: str
    carriage: Carriage
    extensions: tuple[str, ...]


FORMATS = (
    Format("nut", Carriage.FOURCC, ("nut",)),
    Format("mov", Carriage.FOURCC, ("mov", "qt")),
    Format("avi", Carriage.FOURCC, ("avi",)),
    Format("mp4", Carriage.TIMED_DATA, ("mp4", "m4v")),
    Format("mpegts", Carriage.BUNDLED_DATA, ("ts",)),
    Format("dv", Carriage.RECORDS, ("dv",)),
)
_BY_NAME = {format_.name: format_ for format_ in FORMATS}
_BY_EXTENSION = {extension: format_ for format_ in FORMATS for extension in format_.extensions}
_MATROSKA = frozenset(("mkv", "matroska", "webm"))


def input_name(wanted: str | None) -> str | None:
    """The demuxer that a format's name or extension means; a name that is not ours is libavformat's own."""
    if wanted is None:
        return None
    found = _BY_NAME.get(wanted.lower()) or _BY_EXTENSION.get(wanted.lower())
    if found is not None:
        return found.name
    return "matroska" if wanted.lower() in _MATROSKA else wanted


def choose_output(name: str, wanted: str | None, *, is_pipe: bool) -> Format:
    """The format for an output called `name`: the `wanted` one, else by extension, else NUT for pipes.

    ContainerFormatError when the format is unknown or cannot hold a duoview stream.
    """
    if wanted is not None:
        key, what = wanted.lower(), f"format {wanted!r}"
        found = _BY_NAME.get(key) or _BY_EXTENSION.get(key)
    else:
        key = PurePath(name).suffix.lower().lstrip(".")
        what = f"extension {key!r}" if key else "a name without an extension"
        found = _BY_EXTENSION.get(key)
        if found is None and is_pipe:
            found = _BY_NAME["nut"]
    if found is not None:
        return found
    if key in _MATROSKA:
        raise ContainerFormatError(
            f"{name}: Matroska is read but not written here; write NUT, then ffmpeg -i x.nut -map 0 -c copy x.mkv",
            name=name,
        )
    known = ", ".join(f"{format_.name} (.{', .'.join(format_.extensions)})" for format_ in FORMATS)
    raise ContainerFormatError(f"{name}: {what} names no format that holds a duoview stream; known: {known}", name=name)
