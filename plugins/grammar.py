"""The text of a filtergraph, as libavfilter reads it.

Chains separated by ``;`` of filters separated by ``,``, each ``[input]name@id=args[output]``, with two levels of
quoting: the first separates filters, the second, inside ``args``, separates options (by ``:``). At both levels a
backslash takes the next character as it is and '...' takes everything up to the next quote. Source: "Notes on
filtergraph escaping" and "Filtergraph syntax" of the FFmpeg filters manual. Nothing here knows what a filter is or what
its labels lead to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import GraphSyntaxError

WHITESPACE = " \n\t\r"
_SCALE_OPTIONS = "sws_flags="
_UNFIT = re.compile("[\\0\ud800-\udfff]")


@dataclass(frozen=True)
class Token:
    """An unquoted text; `origins[i]` is the offset in the source of character i."""

    text: str
    origins: tuple[int, ...]
    start: int

    def column(self, index: int) -> int:
        """Column (from 1) in the whole source of character `index` of this token."""
        if index < len(self.origins):
            return self.origins[index] + 1
        return (self.origins[-1] + 2) if self.origins else self.start + 1


@dataclass(frozen=True)
class LabelText:
    """A link label as written, without its brackets and quotes. Columns count from 1."""

    name: str
    column: int


@dataclass(frozen=True)
class FilterText:
    """One filter as written: name, instance name after ``@`` if any, options still in one text, labels."""

    name: str
    instance: str | None
    options: Token | None
    column: int
    inputs: tuple[LabelText, ...] = ()
    outputs: tuple[LabelText, ...] = ()

    @property
    def label(self) -> str:
        """How errors call this filter: ``scale`` or ``scale@left``."""
        return self.name if self.instance is None else f"{self.name}@{self.instance}"


@dataclass(frozen=True)
class OptionText:
    """One option as written; `key` is None where it was given by position. Columns count from 1."""

    key: str | None
    value: str
    column: int


@dataclass(frozen=True)
class GraphText:
    """A filtergraph as written; `scale_options` are those of a leading ``sws_flags=...;``, for every scaler."""

    chains: tuple[tuple[FilterText, ...], ...]
    scale_options: tuple[OptionText, ...] = ()


def take_token(text: str, position: int, terminators: str, origins: tuple[int, ...] | None = None) -> tuple[Token, int]:
    """Read up to an unquoted terminator or the end, and unquote; return the token and where reading stopped.

    Leading white space is left out, trailing too unless it was quoted. An open quote runs to the end, as in libavutil.
    `origins` maps offsets of `text` to offsets of the source, for a token taken out of a token.
    """
    while position < len(text) and text[position] in WHITESPACE:
        position += 1
    start = position
    characters: list[str] = []
    offsets: list[int] = []
    keep = 0  # characters before this one are quoted: their white space stays
    while position < len(text) and text[position] not in terminators:
        character = text[position]
        if character == "\\" and position + 1 < len(text):
            characters.append(text[position + 1])
            offsets.append(position + 1)
            position += 2
            keep = len(characters)
        elif character == "'":
            position += 1
            while position < len(text) and text[position] != "'":
                characters.append(text[position])
                offsets.append(position)
                position += 1
            if position < len(text):
                position += 1
                keep = len(characters)
        else:
            characters.append(character)
            offsets.append(position)
            position += 1
    while len(characters) > keep and characters[-1] in WHITESPACE:
        characters.pop()
        offsets.pop()
    if origins is not None:
        start = origins[start] if start < len(origins) else (origins[-1] + 1 if origins else 0)
        offsets = [origins[offset] for offset in offsets]
    return Token("".join(characters), tuple(offsets), start), position


def parse_text(text: str) -> GraphText:
    """Split the text of a filtergraph into chains of filters, in order.

    Raises GraphSyntaxError, with the column, for what libavfilter's parser refuses: no filter at all, a filter without
    name, a label that is empty or not closed, anything but ``,`` or ``;`` behind a filter, ``sws_flags`` without ``;``.
    As there, a trailing ``,`` or ``;`` is allowed. What libavfilter cannot be given is refused too: NUL, with which its
    texts end, and halves of surrogate pairs.
    """
    if unfit := _UNFIT.search(text):
        words = f"the character {unfit[0]!r} cannot be passed to libavfilter; leave it out"
        raise GraphSyntaxError(words, unfit.start() + 1)
    position = _skip(text, 0)
    scale_options, position = _take_scale_options(text, position)
    chains: list[tuple[FilterText, ...]] = []
    chain: list[FilterText] = []
    position = _skip(text, position)
    if position == len(text):
        raise GraphSyntaxError("no filter in the text; expected at least one, e.g. scale=640:-2", position + 1)
    while position < len(text):
        item, position = _take_filter(text, position)
        chain.append(item)
        if position == len(text):
            break
        if text[position] not in ",;":
            found = f"expected ',' or ';' behind filter {item.label}, found {text[position]!r}"
            hint = "; a ']' or '[' that is no label is written \\] or \\[" if text[position] == "]" else ""
            raise GraphSyntaxError(found + hint, position + 1)
        if text[position] == ";":
            chains.append(tuple(chain))
            chain = []
        position = _skip(text, position + 1)
    if chain:
        chains.append(tuple(chain))
    return GraphText(tuple(chains), scale_options)


def _take_scale_options(text: str, position: int) -> tuple[tuple[OptionText, ...], int]:
    if not text.startswith(_SCALE_OPTIONS, position):
        return (), position
    end = text.find(";", position)
    if end < 0:
        raise GraphSyntaxError("sws_flags=... needs a ';' behind its value", position + 1)
    begin = position + len("sws_")
    token = Token(text[begin:end], tuple(range(begin, end)), begin)
    return split_options(token), end + 1


def _take_filter(text: str, position: int) -> tuple[FilterText, int]:
    inputs, position = _take_labels(text, position)
    name, position = take_token(text, position, "=,;[")
    column = name.start + 1
    filter_name, at, instance = name.text.partition("@")
    if not filter_name:
        before = f" before {name.text!r}" if name.text else " here"
        raise GraphSyntaxError(f"a filter name is missing{before}", column)
    options: Token | None = None
    if position < len(text) and text[position] == "=":
        options, position = take_token(text, position + 1, "[],;")
    outputs, position = _take_labels(text, position)
    return FilterText(filter_name, instance if at else None, options, column, inputs, outputs), _skip(text, position)


def _take_labels(text: str, position: int) -> tuple[tuple[LabelText, ...], int]:
    labels: list[LabelText] = []
    while position < len(text) and text[position] == "[":
        column = position + 1
        token, position = take_token(text, position + 1, "]")
        if position == len(text):
            raise GraphSyntaxError(f"'[' without its ']': the label {token.text!r} is not closed", column)
        if not token.text:
            raise GraphSyntaxError("the label between '[' and ']' is empty; expected a name, e.g. [left]", column)
        labels.append(LabelText(token.text, column))
        position = _skip(text, position + 1)
    return tuple(labels), position


def split_options(options: Token | None) -> tuple[OptionText, ...]:
    """Split a filter's options at ``:`` into keys (None where given by position) and unquoted values."""
    if options is None:
        return ()
    text, position = options.text, 0
    found: list[OptionText] = []
    while position < len(text):
        key, after = _take_key(text, position)
        value, end = take_token(text, after, ":", options.origins)
        found.append(OptionText(key, value.text, options.column(_skip(text, position))))
        position = end + 1
    return tuple(found)


def _take_key(text: str, position: int) -> tuple[str | None, int]:
    start = _skip(text, position)
    end = start
    while end < len(text) and ((text[end].isascii() and text[end].isalnum()) or text[end] in "-_/."):
        end += 1
    after = _skip(text, end)
    if after < len(text) and text[after] == "=":
        return text[start:end], after + 1
    return None, position


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in WHITESPACE:
        position += 1
    return position
