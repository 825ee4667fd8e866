"""Errors of filtergraphs and stages. Each is a `duoview.Error` and the Python builtin that plain code would catch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from duoview.errors import Error


class GraphSyntaxError(Error, ValueError):
    """The text of a filtergraph cannot be read. `column` counts characters from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"filtergraph, column {column}: {message}")
        self.column = column


class FilterNotFoundError(Error, LookupError):
    """No stage of ours and no filter of libavfilter has this name."""


class OptionError(Error, ValueError):
    """A filter's option is unknown, missing, not of its type, or outside its limits."""


class LinkError(Error, TypeError):
    """What one pad gives is not what the next pad takes, or an item of the wrong kind was pushed."""


class FrameError(Error, ValueError):
    """A frame lacks what a filter needs: times, what a detector or tracker finds, a pixel format it can write to."""


class PublishError(Error, ConnectionError):
    """A broker cannot be reached, refuses, or does not answer."""


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of the allowed words, or an empty text."""
    near = nearest(word, allowed)
    return f"; did you mean {near!r}?" if near else ""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the nearest of the allowed words, None where none is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return near[0] if near else None
