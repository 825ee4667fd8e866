"""One of libavfilter's own filters as a graph's text names it: its options tried out, its pads counted.

libavfilter is asked by making the filter alone in a graph that is thrown away, so that a mistake is named when the text
is read. Its messages are not in PyAV's errors: they are taken from its log.
"""

from __future__ import annotations

import contextlib
import re
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.filter
import av.filter.context
import av.logging

from .errors import LinkError, OptionError, suggestion
from .grammar import FilterText, OptionText, split_options
from .links import LinkType

TERMINALS = frozenset(("buffer", "abuffer", "buffersink", "abuffersink"))
DISCARDS = {"nullsink": LinkType.VIDEO, "anullsink": LinkType.AUDIO}
SOURCE_OF_TYPE = {LinkType.VIDEO: "nullsrc", LinkType.AUDIO: "anullsrc"}
SINK_OF_TYPE = {LinkType.VIDEO: "nullsink", LinkType.AUDIO: "anullsink"}
_TOLD_BY_THE_LOG = (av.error.ArgumentError, av.error.OptionNotFoundError)
_OPTION_LETTERS = string.ascii_lowercase + string.digits + "_"
_MOST_OPTIONS, _LONGEST_OPTION = 64, 40  # of a refused filter no more is tried out: each takes a filter made anew
_LOG_SETTINGS = threading.Lock()


@dataclass(frozen=True)
class NativeFilter:
    """A filter that libavfilter accepts: what was written, the arguments it is made with, the types of its pads."""

    text: FilterText
    arguments: str | None
    input_types: tuple[LinkType, ...]
    output_types: tuple[LinkType, ...]
    position: int = 0

    @property
    def name(self) -> str:
        """What libavfilter's parser would call it: ``scale@left``, or ``Parsed_scale_2`` by its place in the text."""
        return self.text.label if self.text.instance is not None else f"Parsed_{self.text.name}_{self.position}"

    @property
    def label(self) -> str:
        """How errors call it: ``scale`` or ``scale@left``."""
        return self.text.label

    @property
    def place(self) -> str:
        """How errors say where it stands: ``scale@left (column 7)``."""
        return f"{self.text.label} (column {self.text.column})"


def read_native(text: FilterText, scale_options: Sequence[OptionText] = (), position: int = 0) -> NativeFilter:
    """Make a native filter of its text; `scale_options` are those of ``sws_flags``, defaults of the filter scale.

    `position` is its number among all filters of the text, from 0.

    Raises OptionError with the column of the option that libavfilter refuses, and the nearest name that it has;
    LinkError for libavfilter's buffers, which a graph puts at its own ends.
    """
    if text.name in TERMINALS:
        raise LinkError(
            f"{text.label} (column {text.column}): the graph puts {text.name} at its open pads itself; leave it out"
        )
    for option in split_options(text.options):
        if option.key is not None and option.key.startswith("/"):
            raise OptionError(
                f"{text.label} (column {option.column}): {option.key}={option.value}: option values from files are not "
                f"read; give the value itself as {option.key[1:]}=..."
            )
    arguments = _with_scale_options(text, scale_options)
    graph = _scratch()
    try:
        native = graph.add(text.name, arguments)
    except (av.error.FFmpegError, ValueError) as error:
        said = logged(lambda: _scratch().add(text.name, arguments)) or str(error)
        if isinstance(error, OSError) and not isinstance(error, _TOLD_BY_THE_LOG):
            said = f"{said}: {error.strerror}"
        raise OptionError(_culprit(text, said)) from error
    context: Any = native  # its pads are missing in PyAV's type stubs
    inputs = tuple(_type_of_input(native, index) for index in range(len(context.inputs)))
    outputs = tuple(_type_of_output(native, index) for index in range(len(context.outputs)))
    return NativeFilter(text, arguments, inputs, outputs, position)


def logged(work: Callable[[], object]) -> str:
    """Do again what failed and return what libavfilter logs about it, in one line."""
    with log_of(av.logging.ERROR) as lines:
        try:
            work()
        except (av.error.FFmpegError, ValueError):
            return "; ".join(line.strip() for _, _, line in lines)
        return ""


@contextlib.contextmanager
def log_of(level: int) -> Iterator[list[tuple[int, str, str]]]:
    """What libavfilter logs in this thread up to `level`, as level, name and line; a line as often as it comes.

    Level and repetition are settings of the whole process: one thread at a time changes them, and puts them back.
    """
    with _LOG_SETTINGS:
        before, once = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(level)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture() as lines:
                yield lines
        finally:
            av.logging.set_skip_repeated(once)
            av.logging.set_level(before)


def join_options(options: Sequence[OptionText]) -> str:
    """The text that libavfilter splits into these options."""
    return ":".join((f"{item.key}=" if item.key else "") + re.sub(r"([\\':])", r"\\\1", item.value) for item in options)


def _with_scale_options(text: FilterText, scale_options: Sequence[OptionText]) -> str | None:
    written = text.options.text if text.options else None
    if text.name != "scale" or not scale_options:
        return written
    given = split_options(text.options)
    taken = {option.key for option in given}
    if sum(option.key is None for option in given) > 2:  # w, h, flags is the order of values without a name
        taken.add("flags")
    missing = [option for option in scale_options if option.key not in taken]
    if any(option.key is None for option in scale_options):
        raise OptionError(f"sws_flags (column {scale_options[0].column}): a value behind ':' needs a name")
    return join_options([*given, *missing])


def _type_of_input(native: av.filter.context.FilterContext, index: int) -> LinkType:
    for kind, source in SOURCE_OF_TYPE.items():
        try:
            native.graph.add(source).link_to(native, 0, index)
        except av.error.FFmpegError:
            continue
        return kind
    raise LinkError(f"{native.name}: its input pad {index} takes neither video nor audio")


def _type_of_output(native: av.filter.context.FilterContext, index: int) -> LinkType:
    for kind, sink in SINK_OF_TYPE.items():
        try:
            native.link_to(native.graph.add(sink), index, 0)
        except av.error.FFmpegError:
            continue
        return kind
    raise LinkError(f"{native.name}: its output pad {index} gives neither video nor audio")


def _culprit(item: FilterText, said: str) -> str:
    """Name the option that libavfilter refuses, the one without which it takes the rest; `said` is its own message."""
    options = split_options(item.options)
    if len(options) > _MOST_OPTIONS:
        return f"{item.label} (column {item.column}): {len(options)} options: {said}"
    named = [option.key is not None for option in options]
    for index, option in enumerate(options):
        if option.key is None and any(named[:index]):
            return f"{item.label} (column {option.column}): value {option.value!r} after a named option needs a name"
    for index, option in enumerate(options):
        unknown = option.key is not None and f"No such option: {option.key}." in said
        if not unknown and _refusal(item.name, join_options([*options[:index], *options[index + 1 :]])) is not None:
            continue
        if option.key is not None and unknown:
            near = suggestion(option.key, _near_options(item.name, option.key))
            help_text = f"`ffmpeg -h filter={item.name}` lists those it has"
            return f"{item.label} (column {option.column}): no option {option.key!r}{near or '; ' + help_text}"
        return _refused(item, option, said)
    named_in_it = [option for option in options if len(option.value) > 1 and option.value in said]
    return _refused(item, named_in_it[0], said) if named_in_it else f"{item.label} (column {item.column}): {said}"


def _refused(item: FilterText, option: OptionText, said: str) -> str:
    shown = repr(option.value) if option.key is None else f"{option.key}={option.value!r}"
    return f"{item.label} (column {option.column}): {shown}: {said}"


def _near_options(name: str, key: str) -> list[str]:
    """Options of a filter that are one letter away from `key`: PyAV has no list of them, so they are tried.

    They are tried with an empty value, which opens no file. Where the filter cannot be made without certain options
    libavfilter complains about those first, and nothing can be told.
    """
    if len(key) > _LONGEST_OPTION or not isinstance(_refusal(name, f"{key}="), av.error.OptionNotFoundError):
        return []
    cuts = [(key[:index], key[index:]) for index in range(len(key) + 1)]
    tried = {left + right[1:] for left, right in cuts if right}
    tried |= {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    tried |= {left + letter + right[1:] for left, right in cuts if right for letter in _OPTION_LETTERS}
    tried |= {left + letter + right for left, right in cuts for letter in _OPTION_LETTERS}
    return sorted(
        word for word in tried - {"", key} if not isinstance(_refusal(name, f"{word}="), av.error.OptionNotFoundError)
    )


def _scratch() -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1  # threads for a graph that never runs would be waste
    return graph


def _refusal(name: str, arguments: str) -> Exception | None:
    try:
        _scratch().add(name, arguments or None)
    except (av.error.FFmpegError, ValueError) as error:
        return error
    return None
