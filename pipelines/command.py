"""The ``duoview`` command: finds the subcommand, turns every error into one line, and keeps ffmpeg's exit codes.

0 done, 1 failed, 2 wrong usage, 255 stopped by a signal after the file was finished.
"""

from __future__ import annotations

import importlib
import itertools
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av

import duoview
from duoview.errors import Error
from duoview.plugins.errors import FilterNotFoundError, GraphSyntaxError, LinkError, OptionError, suggestion

from .console import LEVELS, Console
from .errors import UsageError, advice, reason
from .interrupt import EXIT_CODE
from .options import log_level
from .run.allocator import share_arenas

FAILED, WRONG_USAGE = 1, 2
_USAGE_ERRORS = (UsageError, GraphSyntaxError, FilterNotFoundError, OptionError, LinkError)
_HELP = frozenset(("-h", "-?", "-help", "--help", "h", "help"))


@dataclass(frozen=True)
class Command:
    """A subcommand: its one-line help and the module, imported when it is used.

    The module has ``main(arguments) -> exit code`` and, unless it answers ``-h`` itself, ``usage() -> text``.
    """

    summary: str
    module: str
    lasts: bool = False  # it may run for months


COMMANDS = {
    "encode": Command("video, images or an image sequence into a duoview stream", "duoview.pipelines.encode"),
    "decode": Command("a duoview stream into pictures: the machine or the human view", "duoview.pipelines.decode"),
    "run": Command("cameras and files through graphs, recorded and watched over", "duoview.pipelines.run.command",
                   lasts=True),
    "cut": Command("less of a stream, nothing coded again: the machine layer, or less texture",
                   "duoview.pipelines.cut_layers"),
    "probe": Command("what is in a duoview file: size, rate, layers, bytes", "duoview.pipelines.probe"),
    "filters": Command("list our filters, and libavfilter's", "duoview.pipelines.filters"),
    "doctor": Command("what this machine can do, and why not more", "duoview.pipelines.doctor"),
    "bench": Command("measurements, in the folder of the checkout", "duoview.pipelines.bench"),
    "export": Command("a profile's networks at another precision, or compared with torch (extra: train)",
                      "duoview.pipelines.export"),
    "engines": Command("TensorRT engines of a profile: build, list, prune, verify", "duoview.pipelines.engines"),
    "train": Command("a profile from folders of images and videos (extra: train)", "duoview.pipelines.train"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return the exit code. Prints every failure as one line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(_level(words))
    try:
        return _dispatch(words)
    except _USAGE_ERRORS as error:
        return _fail(console, reason(error), WRONG_USAGE)
    except KeyboardInterrupt:
        return _fail(console, "stopped at once; the output may be unfinished", EXIT_CODE)
    except (Error, av.error.FFmpegError, OSError) as error:
        return _fail(console, reason(error) + ("" if isinstance(error, Error) else advice(error)), FAILED)
    except MemoryError:
        return _fail(console, "out of memory; expected smaller pictures or more memory", FAILED)
    except SystemExit as error:  # argparse of a subcommand
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        return _fail(console, str(error.code).removeprefix("duoview "), FAILED)
    except Exception as error:  # noqa: BLE001  the last resort: one line instead of a traceback, which -loglevel debug shows
        return _fail(
            console, f"internal error: {type(error).__name__}: {reason(error)}; -loglevel debug tells more", FAILED
        )


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        print(_topic(words[1]) if len(words) > 1 else usage())
        return 0
    if words[0] in ("-version", "--version", "version"):
        print(version())
        return 0
    name, rest = words[0], words[1:]
    command = COMMANDS.get(name)
    if command is None:
        kind = "option" if name.startswith("-") else "command"
        raise UsageError(f"unknown {kind} {name}{suggestion(name, COMMANDS)}; `duoview -h` lists the commands")
    if command.lasts:
        share_arenas()  # before what is imported now starts threads
    module = importlib.import_module(command.module)
    if rest and rest[0] in ("-h", "-?", "-help", "--help") and hasattr(module, "usage"):
        print(_topic(rest[1]) if len(rest) > 1 else module.usage())
        return 0
    run: Callable[[Sequence[str]], int] = module.main
    return run(rest)


def usage() -> str:
    """The help of the whole command."""
    lines = ["duoview: a scalable video codec for machines and people", "", "Commands:"]
    lines += [f"  {name:<8} {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "duoview COMMAND -h        options of a command",
        "duoview -h filter=NAME    options of a filter",
        "duoview -version          versions",
    ]
    return "\n".join(lines)


def version() -> str:
    """The versions of ours and of what is below."""
    import numpy as np

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items())
    )
    return "\n".join(
        (
            f"duoview {duoview.__version__}",
            f"python {platform.python_version()}, numpy {np.__version__}, av {av.__version__}",
            libraries,
        )
    )


def _topic(topic: str) -> str:
    kind, _, name = topic.partition("=")
    if kind == "filter" and name:
        from .filters import filter_help

        return filter_help(name)
    if topic in COMMANDS:
        module = importlib.import_module(COMMANDS[topic].module)
        return str(module.usage()) if hasattr(module, "usage") else f"duoview {topic} -h shows its help"
    raise UsageError(f"-h {topic}: expected filter=NAME or one of {', '.join(COMMANDS)}{suggestion(topic, COMMANDS)}")


def _level(words: Sequence[str]) -> int:
    """The log level of the command line, found before it is read, since reading it may fail too."""
    for word, value in itertools.pairwise(words):
        if word.lstrip("-") in ("loglevel", "v"):
            try:
                return log_level(value)
            except ValueError:
                break
    return LEVELS["info"]


def _fail(console: Console, text: str, code: int) -> int:
    console.error(text)
    if console.shows("debug"):
        console.say("debug", traceback.format_exc().rstrip())
    return code
