"""The command line's grammar, as ffmpeg's users know it: options bind to the file that follows them.

``[global and input options] -i input [output options] output``. Each command brings its table of options; a stream
specifier after a colon (``-c:v``) is accepted where the table says so.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from duoview.captions.told import read_mode
from duoview.errors import LimitError
from duoview.inner.importance import Region
from duoview.plugins.errors import nearest, suggestion
from duoview.texture import Depths
from duoview.windows import LEAST_TILE, MOST_TILE

from .console import LEVELS
from .errors import UsageError


class Scope(enum.Flag):
    """What an option may bind to."""

    GLOBAL = enum.auto()
    INPUT = enum.auto()
    OUTPUT = enum.auto()


ANYWHERE = Scope.GLOBAL | Scope.INPUT | Scope.OUTPUT
FILES = Scope.INPUT | Scope.OUTPUT


@dataclass(frozen=True)
class CommandOption:
    """One option of a command.

    `value` is how the help calls its value, empty for a switch; `read` turns the text into the value and raises
    ValueError with what it expected; `specifiers` are the stream specifiers it takes (``v``, ``a``), an empty one is
    always allowed; `repeat` collects all values given into a tuple; `section` groups the help.
    """

    name: str
    value: str
    help: str
    scope: Scope
    read: Callable[[str], Any] = str
    specifiers: tuple[str, ...] = ()
    repeat: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileArguments:
    """One file of the command line with the options that bind to it, by name (with specifier where one was given)."""

    url: str
    values: Mapping[str, Any]
    codec_options: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option, or the default where it was not given."""
        return self.values.get(name, default)


@dataclass(frozen=True)
class CommandLine:
    """A split command line; `globals` holds the options that bind to no file."""

    inputs: tuple[FileArguments, ...]
    outputs: tuple[FileArguments, ...]
    globals: Mapping[str, Any]


def split(arguments: Sequence[str], table: Iterable[CommandOption], *, codec_options: bool = False) -> CommandLine:
    """Split a command line after a table of options.

    With `codec_options`, options before an output that the table lacks are kept, with their values, for the encoder of
    that output, which knows its own. Raises UsageError naming the option, the value, and what would be right.
    """
    names = {name: option for option in table for name in (option.name, *option.aliases)}
    found_globals: dict[str, Any] = {}
    pending: dict[str, Any] = {}
    pending_codec: dict[str, str] = {}
    inputs: list[FileArguments] = []
    outputs: list[FileArguments] = []
    position = 0

    def value_of(option: str) -> str:
        nonlocal position
        position += 1
        if position >= len(arguments):
            raise UsageError(f"-{option}: a value is missing after it")
        return arguments[position]

    while position < len(arguments):
        word = arguments[position]
        if word in ("-i", "--input"):
            url = value_of("i")
            _refuse_codec_options(pending_codec, names)
            inputs.append(_bind(url, pending, names, Scope.INPUT, found_globals))
            pending = {}
        elif word == "-" or not word.startswith("-"):
            outputs.append(_bind(word, pending, names, Scope.OUTPUT, found_globals, pending_codec))
            pending, pending_codec = {}, {}
        else:
            key = word[2:] if word.startswith("--") else word[1:]
            name, _, specifier = key.partition(":")
            option = names.get(name)
            if option is None:
                if not codec_options or not re.fullmatch(r"[A-Za-z][\w-]*(:v(:\d+)?)?", key):
                    raise unknown_option(key, names)
                pending_codec[name] = value_of(key)
            else:
                _check_specifier(option, specifier)
                value: Any = _read(option, key, value_of(key)) if option.value else True
                target = option.name + (f":{specifier}" if specifier else "")
                if option.repeat:
                    value = (*pending.get(target, ()), value)
                pending[target] = value
        position += 1
    _refuse_codec_options(pending_codec, names)
    _bind_rest(pending, names, found_globals)
    return CommandLine(tuple(inputs), tuple(outputs), found_globals)


def _bind(
    url: str,
    pending: Mapping[str, Any],
    names: Mapping[str, CommandOption],
    scope: Scope,
    found_globals: dict[str, Any],
    codec_options: Mapping[str, str] | None = None,
) -> FileArguments:
    values: dict[str, Any] = {}
    for target, value in pending.items():
        option = names[target.partition(":")[0]]
        if Scope.GLOBAL in option.scope:
            found_globals[target] = value
        elif scope in option.scope:
            values[target] = value
        else:
            other = "an output: put it after -i" if scope is Scope.INPUT else "an input: put it before -i"
            raise UsageError(
                f"-{target}: it stands before {'-i ' * (scope is Scope.INPUT)}{url} but belongs to {other}"
            )
    return FileArguments(url, values, dict(codec_options or {}))


def _bind_rest(pending: Mapping[str, Any], names: Mapping[str, CommandOption], found_globals: dict[str, Any]) -> None:
    for target, value in pending.items():
        if Scope.GLOBAL not in names[target.partition(":")[0]].scope:
            raise UsageError(f"-{target}: no file name follows it; options stand before the file they bind to")
        found_globals[target] = value


def _refuse_codec_options(pending: Mapping[str, str], names: Mapping[str, CommandOption]) -> None:
    for name in pending:
        raise unknown_option(name, names)


def unknown_option(key: str, known: Iterable[str]) -> UsageError:
    """The error for an option that is in no table, with the nearest that is."""
    near = nearest(key.partition(":")[0], known)
    return UsageError(f"unknown option -{key}" + (f"; did you mean -{near}?" if near else ""))


def _check_specifier(option: CommandOption, specifier: str) -> None:
    if specifier and specifier.partition(":")[0] not in option.specifiers:
        allowed = ", ".join(f"-{option.name}:{item}" for item in option.specifiers) or f"-{option.name}"
        raise UsageError(f"-{option.name}:{specifier}: expected {allowed}")


def _read(option: CommandOption, key: str, text: str) -> Any:
    try:
        return option.read(text)
    except UsageError:
        raise
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"-{key} {text}: expected {error}") from error


# Readers of values: each raises ValueError saying what it expects.


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`."""
    limits = f"a whole number, {low} to {high}" if high is not None else f"a whole number, at least {low}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(limits) from None
        if value < low or (high is not None and value > high):
            raise ValueError(limits)
        return value

    return read


def one_of(*choices: str, later: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """A reader of words; those in `later` exist in the design but not in this version, and get that answer."""

    def read(text: str) -> str:
        if later is not None and text in later:
            raise ValueError(f"{' or '.join(choices)}; {text} {later[text]}")
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}{suggestion(text, choices)}")
        return text

    return read


def duration(text: str) -> Fraction:
    """Read ffmpeg's time syntax, ``[-][HH:]MM:SS[.m]`` or ``[-]S[.m][s|ms|us]``, in seconds."""
    match = re.fullmatch(r"(-?)(?:(?:(\d+):)?(\d\d?):(\d\d?(?:\.\d+)?)|(\d+(?:\.\d*)?|\.\d+)(s|ms|us)?)", text)
    if match is None:
        raise ValueError("a time like 12.5, 90s, 250ms or 00:01:30.5")
    sign, hours, minutes, seconds, plain, unit = match.groups()
    if plain is not None:
        value = Fraction(plain) / {"ms": 1000, "us": 1_000_000}.get(unit, 1)
    else:
        value = int(hours or 0) * 3600 + int(minutes) * 60 + Fraction(seconds)
    return -value if sign else value


def positive_duration(text: str) -> Fraction:
    """Read a time that is not negative."""
    value = duration(text)
    if value < 0:
        raise ValueError("a time of at least 0")
    return value


def frame_rate(text: str) -> Fraction:
    """Read a frame rate: ``25``, ``29.97``, ``30000/1001`` or one of ffmpeg's names (ntsc, pal, film)."""
    named = {
        "ntsc": Fraction(30000, 1001),
        "pal": Fraction(25),
        "film": Fraction(24),
        "ntsc-film": Fraction(24000, 1001),
    }
    try:
        value = named[text] if text in named else Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1_000_000:
        raise ValueError("frames per second like 25, 29.97 or 30000/1001")
    return value.limit_denominator(1_001_000)


def bit_rate(text: str) -> int:
    """Read a rate or a number of bits, with ffmpeg's k and M: ``200k``, ``1.5M``, ``64000``."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([kKM]?)", text)
    value = int(Fraction(match[1]) * {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}[match[2]]) if match else 0
    if not 1 <= value < 1 << 31:
        raise ValueError("bits like 64000, 200k or 1.5M, below 2^31")
    return value


def memory(text: str) -> int:
    """Read a number of bytes: ``64000000``, ``500M``, ``8Gi``."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(|[kMG]i?)B?", text)
    value = 0
    if match is not None:
        unit, step = match[2][:1], 1024 if match[2].endswith("i") else 1000
        value = int(Fraction(match[1]) * step ** " kMG".index(unit or " "))
    if value < 1:
        raise ValueError("bytes like 64000000, 500M or 8Gi")
    return value


def region(text: str) -> str:
    """Check a region of interest, ``x:y:w:h`` or ``x:y:w:h:weight``."""
    try:
        Region.parse(text)
    except LimitError as error:
        raise ValueError(str(error).partition("expected ")[2]) from error
    return text


def share(text: str) -> float:
    """Read a share of a picture's sides, ``0.5``."""
    if not re.fullmatch(r"0?\.\d+|1(?:\.0*)?", text) or not 0.25 <= float(text) <= 1:
        raise ValueError("a share from 0.25 to 1")
    return float(text)


def caption(text: str) -> str:
    """A caption of the command line, as it is. Raises ValueError for what is none."""
    try:
        read_mode(text)
    except LimitError as error:
        raise ValueError(str(error).partition("expected ")[2] or str(error)) from None
    return text


def noise_share(text: str) -> float:
    """Read a share of noise, above 0 to 1."""
    if not re.fullmatch(r"0?\.\d+|1(?:\.0*)?", text) or not 0 < float(text) <= 1:
        raise ValueError("a share above 0 to 1")
    return float(text)


def window_side(text: str) -> int:
    """Read the side of the windows of a human view, in 8 pixels."""
    value = integer(0, MOST_TILE)(text)
    if 0 < value < LEAST_TILE:
        raise ValueError(f"a whole number, {LEAST_TILE} to {MOST_TILE}, or 0")
    return value


def texture_depths(text: str) -> Depths:
    """Read depths of texture, ``2`` or ``2,0=6,3=0``."""
    try:
        return Depths.parse(text)
    except LimitError as error:
        raise ValueError(str(error).partition("expected ")[2] or str(error)) from error


def size(text: str) -> str:
    """Read a picture size, ``640x360``."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise ValueError("a size like 640x360")
    return text


def log_level(text: str) -> int:
    """Read ffmpeg's log level, by name or number."""
    if text in LEVELS:
        return LEVELS[text]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"one of {', '.join(LEVELS)}{suggestion(text, LEVELS)}") from None


#: Of every command.
COMMON_OPTIONS = (
    CommandOption("loglevel", "level", f"what is told: {', '.join(LEVELS)}", ANYWHERE, log_level, aliases=("v",)),
    CommandOption("hide_banner", "", "accepted as ffmpeg's; there is no banner", ANYWHERE),
    CommandOption("nostdin", "", "never read from the terminal", ANYWHERE),
)
#: Of commands that run networks, and of all that read or write one file.
DEVICE_OPTION = CommandOption("device", "name", "where networks run: auto, cpu, cuda, tensorrt", ANYWHERE)
FORMAT_OPTION = CommandOption("f", "format", "format of the file, where its name does not tell it", FILES)
#: The part of a file that is taken; see `duoview.pipelines.cut`.
CUT_OPTIONS = (
    CommandOption("ss", "time", "start here; before -i it seeks, and times count from there", FILES, positive_duration),
    CommandOption("t", "time", "take this long", FILES, positive_duration),
    CommandOption("to", "time", "stop at this time of the input", Scope.INPUT, positive_duration),
    CommandOption("frames", "n", "stop after this many frames", Scope.OUTPUT, integer(1), specifiers=("v",)),
)
#: What ffmpeg's users write against streams that we leave out anyway, but for -an, which takes -c:a copy back.
NO_STREAM_OPTIONS = (
    CommandOption("an", "", "no audio (the default)", Scope.OUTPUT),
    CommandOption("sn", "", "no subtitles (the default)", Scope.OUTPUT),
    CommandOption("dn", "", "no data streams (the default)", Scope.OUTPUT),
)
#: Of commands that take a while.
STATUS_OPTIONS = (
    CommandOption("stats", "", "show the status line also where nobody watches", ANYWHERE),
    CommandOption("nostats", "", "show no status line", ANYWHERE),
)
#: Of commands that write what is named on the command line.
GLOBAL_OPTIONS = (
    CommandOption("y", "", "overwrite output files without asking", ANYWHERE),
    CommandOption("n", "", "never overwrite output files", ANYWHERE),
    *COMMON_OPTIONS,
    CommandOption("progress", "url", "write progress as key=value to -, pipe:1, pipe:2 or a file", ANYWHERE),
    *STATUS_OPTIONS,
)


def stats_wanted(line: CommandLine) -> bool | None:
    """Whether the status line is asked for: True, False, or None where the terminal decides."""
    return True if line.globals.get("stats") else (False if line.globals.get("nostats") else None)


def help_lines(table: Iterable[CommandOption]) -> list[str]:
    """Lines of help for a table of options, grouped by what they bind to."""
    groups: dict[str, list[str]] = {"Global options": [], "Input options (before -i)": [], "Output options": []}
    options = tuple(table)
    width = max(len(_shown(option)) for option in options)
    for option in options:
        title = next(
            title
            for title, scope in zip(groups, (Scope.GLOBAL, Scope.INPUT, Scope.OUTPUT), strict=True)
            if scope in option.scope
        )
        both = " (input or output)" if option.scope == FILES else ""
        groups[title].append(f"  {_shown(option):<{width}}  {option.help}{both}")
    return [line for title, lines in groups.items() if lines for line in (f"{title}:", *lines)]


def _shown(option: CommandOption) -> str:
    specifier = f"[:{'|:'.join(option.specifiers)}]" if option.specifiers else ""
    return f"-{option.name}{specifier}" + (f" {option.value}" if option.value else "")
