"""Options of a stage: a frozen dataclass whose fields carry help, limits and choices.

The order of the fields is the positional order in a graph string. Values come typed from Python or as text from a
graph string; both are checked here against the field's type, `min`, `max` and `choices`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .errors import OptionError, suggestion
from .grammar import OptionText

_METADATA_KEY = "duoview.option"
_TRUE = frozenset(("1", "true", "yes", "on", "y", "enable", "enabled"))
_FALSE = frozenset(("0", "false", "no", "off", "n", "disable", "disabled"))


@dataclass(frozen=True)
class OptionLimits:
    """What `option` was told about a field."""

    help: str
    min: float | None
    max: float | None
    choices: tuple[Any, ...]
    alias: str | None


@dataclass(frozen=True)
class OptionDescription:
    """One option as the generated help shows it."""

    name: str
    type: str
    default: Any
    required: bool
    limits: OptionLimits

    @property
    def allowed(self) -> str:
        """The allowed values in words, e.g. ``an integer, 0 to 63``."""
        return _allowed_words(self.type, self.limits)


def option(
    default: Any = MISSING,
    *,
    help: str,
    min: float | None = None,
    max: float | None = None,
    choices: Sequence[Any] = (),
    alias: str | None = None,
) -> Any:
    """A field of a stage's `Options`; without a default the option must be given. `alias` is a second, short name."""
    return dataclasses.field(
        default=default, metadata={_METADATA_KEY: OptionLimits(help, min, max, tuple(choices), alias)}
    )


def describe_options(options: type[Any]) -> tuple[OptionDescription, ...]:
    """Describe the fields of an `Options` dataclass, in positional order."""
    kinds = typing.get_type_hints(options)
    return tuple(
        OptionDescription(
            name=field.name,
            type=_type_word(kinds[field.name]),
            default=None if field.default is MISSING else field.default,
            required=field.default is MISSING and field.default_factory is MISSING,
            limits=_limits(field),
        )
        for field in dataclasses.fields(options)
    )


def build_options(options: type[Any], stage: str, positional: Sequence[Any], named: dict[str, Any]) -> Any:
    """Make a checked `Options` from Python values. Raises OptionError, naming what is allowed."""
    fields = dataclasses.fields(options)
    if len(positional) > len(fields):
        raise OptionError(f"{stage}: {len(positional)} values by position, but it has {len(fields)} options")
    values = {field.name: value for field, value in zip(fields, positional, strict=False)}
    for key, value in named.items():
        field = _field(options, stage, key, "")
        if field.name in values:
            raise OptionError(f"{stage}: option {field.name!r} is given twice")
        values[field.name] = value
    return _checked(options, stage, values, {})


def parse_options(options: type[Any], stage: str, texts: Sequence[OptionText], column: int) -> Any:
    """Make a checked `Options` from the text of a graph string.

    As in libavfilter, values by position come first, in field order; after the first ``key=value`` all need their key.
    `column` is where the filter stands; errors name it or the option's own column.
    """
    fields = dataclasses.fields(options)
    values: dict[str, Any] = {}
    columns: dict[str, int] = {}
    named = False
    for index, text in enumerate(texts):
        where = f" (column {text.column})"
        if text.key is None:
            if named:
                raise OptionError(f"{stage}: value {text.value!r} after a named option needs a name{where}")
            if index >= len(fields):
                raise OptionError(f"{stage}: value {text.value!r} is one too many; it has {len(fields)} options{where}")
            field = fields[index]
        else:
            named = True
            field = _field(options, stage, text.key, where)
        values[field.name] = _from_text(options, stage, field, text.value, where)
        columns[field.name] = text.column
    return _checked(options, stage, values, columns | {"": column})


def _checked(options: type[Any], stage: str, values: dict[str, Any], columns: dict[str, int]) -> Any:
    for field in dataclasses.fields(options):
        where = f" (column {columns[field.name]})" if field.name in columns else ""
        if field.name in values:
            values[field.name] = _check(options, stage, field, values[field.name], where)
        elif field.default is MISSING and field.default_factory is MISSING:
            where = f" (column {columns['']})" if "" in columns else ""
            raise OptionError(f"{stage}: option {field.name!r} must be given: {_limits(field).help}{where}")
    return options(**values)


def _check(options: type[Any], stage: str, field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    limits = _limits(field)
    kind = typing.get_type_hints(options)[field.name]
    word = _type_word(kind)
    if value is None and type(None) in typing.get_args(kind):
        return None
    accepted = _PYTHON_TYPES.get(word)
    wrong_type = accepted is not None and (
        not isinstance(value, accepted) or (isinstance(value, bool) and word != "boolean")
    )
    if accepted is not None and not wrong_type:
        value = _CONVERSIONS[word](value)
    outside = (limits.min is not None and value < limits.min) if not wrong_type else False
    outside = outside or (not wrong_type and limits.max is not None and value > limits.max)
    foreign = not wrong_type and bool(limits.choices) and value not in limits.choices
    if wrong_type or outside or foreign:
        near = suggestion(value, [str(c) for c in limits.choices]) if isinstance(value, str) and limits.choices else ""
        shown = str(value) if isinstance(value, (Fraction, Path)) else repr(value)
        raise OptionError(f"{stage}: {field.name}={shown}: expected {_allowed_words(word, limits)}{near}{where}")
    return value


def _from_text(options: type[Any], stage: str, field: dataclasses.Field[Any], text: str, where: str) -> Any:
    word = _type_word(typing.get_type_hints(options)[field.name])
    try:
        return _TEXT_READERS[word](text)
    except (ValueError, ZeroDivisionError) as error:
        allowed = _allowed_words(word, _limits(field))
        raise OptionError(f"{stage}: {field.name}={text!r}: expected {allowed}{where}") from error


def _field(options: type[Any], stage: str, key: str, where: str) -> dataclasses.Field[Any]:
    fields = dataclasses.fields(options)
    for field in fields:
        if key in (field.name, _limits(field).alias):
            return field
    names = [field.name for field in fields]
    raise OptionError(
        f"{stage}: no option {key!r}{where}{suggestion(key, names)}"
        + (f"; it has: {', '.join(names)}" if names else "; it has no options")
    )


def _limits(field: dataclasses.Field[Any]) -> OptionLimits:
    return typing.cast(OptionLimits, field.metadata.get(_METADATA_KEY, OptionLimits("", None, None, (), None)))


def _allowed_words(word: str, limits: OptionLimits) -> str:
    if limits.choices:
        return "one of " + ", ".join(str(choice) for choice in limits.choices)
    noun = {"integer": "an integer", "number": "a number", "boolean": "true or false", "rational": "a rational n/d"}
    words = noun.get(word, f"a {word}")
    if limits.min is not None and limits.max is not None:
        return f"{words}, {limits.min} to {limits.max}"
    if limits.min is not None:
        return f"{words}, at least {limits.min}"
    if limits.max is not None:
        return f"{words}, at most {limits.max}"
    return words


def _type_word(kind: Any) -> str:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(kind) if part is not type(None)]
        kind = inner[0] if len(inner) == 1 else kind
    word = _TYPE_WORDS.get(kind)
    if word is None:
        raise TypeError(
            f"an option cannot be of type {kind!r}; use one of {', '.join(k.__name__ for k in _TYPE_WORDS)}"
        )
    return word


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def _integer(text: str) -> int:
    return int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)


_TYPE_WORDS: dict[Any, str] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "text",
    Fraction: "rational",
    Path: "path",
}
_PYTHON_TYPES: dict[str, Any] = {
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "text": str,
    "rational": (int, Fraction),
    "path": (str, Path),
}
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "number": float,
    "boolean": bool,
    "text": str,
    "rational": Fraction,
    "path": Path,
}
_TEXT_READERS: dict[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": float,
    "boolean": _boolean,
    "text": str,
    "rational": Fraction,
    "path": Path,
}
