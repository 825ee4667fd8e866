"""Which streams of an input are used, after ffmpeg's ``-map`` and ``-c:a copy``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .console import Console
from .errors import MediaError, UsageError

_KINDS = {"v": "video", "a": "audio", "s": "subtitle", "d": "data"}


def read_map(text: str) -> str:
    """Check the form of a ``-map`` value: ``[-]0[:v|a|s|d][:index][?]`` or ``0:index``. Raises ValueError."""
    if not re.fullmatch(r"-?0(:[vasd])?(:\d+)?\??", text):
        raise ValueError(
            "0, 0:v, 0:a, 0:a:1, 0:2, with - before to leave out or ? after for streams that may be missing"
        )
    return text


def selected_streams(
    container: Any, name: str, maps: Sequence[str], copy_audio: bool, console: Console
) -> tuple[Any, list[Any]]:
    """The video stream to work on and the streams to pass through.

    Without maps: the first video stream, and the first audio stream when audio is to be copied, as ffmpeg chooses. With
    maps: what they name; of several video streams the first is used and a warning names the others.
    """
    if not maps:
        chosen = list(container.streams.video[:1])
        chosen += list(container.streams.audio[:1]) if copy_audio else []
    else:
        chosen = mapped_streams(list(container.streams), name, maps)
    videos = [stream for stream in chosen if stream.type == "video"]
    if not videos:
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise MediaError(f"{name}: no video stream{' among those mapped' if maps else ''}; it holds {found}")
    for stream in videos[1:]:
        console.warning(f"{name}: stream 0:{stream.index} is left out; one video stream goes into an output")
    return videos[0], [stream for stream in chosen if stream.type != "video"]


def mapped_streams(streams: Sequence[Any], name: str, maps: Sequence[str]) -> list[Any]:
    """The streams that the maps name, in the order of the maps. Raises UsageError for one that names nothing."""
    chosen: list[Any] = []
    for text in maps:
        specifier, optional = text.removeprefix("-").removesuffix("?"), text.endswith("?")
        found = _matching(streams, specifier.split(":")[1:])
        if text.startswith("-"):
            chosen = [stream for stream in chosen if stream not in found]
        elif not found and not optional:
            kinds = ", ".join(f"0:{stream.index} {stream.type}" for stream in streams) or "no streams"
            raise UsageError(f"-map {text}: matches no stream of {name}, which has {kinds}")
        else:
            chosen += [stream for stream in found if stream not in chosen]
    return chosen


def _matching(streams: Sequence[Any], specifier: Sequence[str]) -> list[Any]:
    if not specifier:
        return list(streams)
    if specifier[0].isdigit():
        return [stream for stream in streams if stream.index == int(specifier[0])]
    found = [stream for stream in streams if stream.type == _KINDS[specifier[0]]]
    if len(specifier) > 1:
        index = int(specifier[1])
        found = found[index : index + 1]
    return found
