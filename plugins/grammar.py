"""The text of a linear filtergraph, as libavfilter reads it.

``name@id=args, name=args`` with two levels of quoting: the first separates filters (by ``,``), the second, inside
``args``, separates options (by ``:``). At both levels a backslash takes the next character as it is and '...' takes
everything up to the next quote. Source: "Notes on filtergraph escaping" and "Filtergraph syntax" of the FFmpeg
filters manual. Nothing here knows what a filter is.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import GraphSyntaxError

WHITESPACE = " \n\t\r"
ONLY_LINEAR = "only linear chains (filter, filter, ...) are supported in this version"


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
class FilterText:
    """One filter as written: its name, the instance name after ``@`` if any, and its options still in one text."""

    name: str
    instance: str | None
    options: Token | None
    column: int

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


def parse_chain(text: str) -> tuple[FilterText, ...]:
    """Split the text of a linear filtergraph into its filters, in order.

    Raises GraphSyntaxError, with the column, for a missing name and for what is not a linear chain: labels in square
    brackets, several chains (``;``). As in libavfilter one trailing comma is allowed.
    """
    filters: list[FilterText] = []
    position = _skip(text, 0)
    if position == len(text):
        raise GraphSyntaxError("no filter in the text; expected at least one, e.g. scale=640:-2", position + 1)
    while position < len(text):
        _refuse_label(text, position)
        name, position = take_token(text, position, "=,;[")
        name_column = name.start + 1
        if not name.text:
            raise GraphSyntaxError("a filter name is missing here", name_column)
        options: Token | None = None
        if position < len(text) and text[position] == "=":
            options, position = take_token(text, position + 1, "[],;")
        filter_name, at, instance = name.text.partition("@")
        if not filter_name:
            raise GraphSyntaxError(f"a filter name is missing before {name.text!r}", name_column)
        filters.append(FilterText(filter_name, instance if at else None, options, name_column))
        position = _skip(text, position)
        if position == len(text):
            break
        _refuse_label(text, position)
        if text[position] == ";":
            raise GraphSyntaxError(f"';' starts another chain; {ONLY_LINEAR}", position + 1)
        if text[position] != ",":
            raise GraphSyntaxError(f"expected ',' before the next filter, found {text[position]!r}", position + 1)
        position = _skip(text, position + 1)
    return tuple(filters)


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


def _refuse_label(text: str, position: int) -> None:
    if text[position] in "[]":
        raise GraphSyntaxError(f"{text[position]!r} belongs to a label; {ONLY_LINEAR}", position + 1)
