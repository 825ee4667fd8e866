"""Does `duoview.Graph` read every graph of FFmpeg's documentation as libavfilter's own parser does?

    python -m bench.documented_filtergraphs ffmpeg-filters.html [--out FILE]

The page is ffmpeg's, built from doc/filters.texi (Debian's package ffmpeg-doc has it). Each example is taken as a graph
text, each of its lines too, and what commands of ffmpeg and ffplay give to -vf, -af, -filter_complex and -f lavfi. What
has open inputs is read behind sources: one video, two, or one audio. A text counts where libavfilter gives frames for
one of these; most do not: examples of options alone, files, devices, and filters that PyAV's wheel does not have. A
frame without a time, which `adelay` begins with, is a difference: the decoder behind the device lavfi makes one up.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import itertools
import json
import multiprocessing
import re
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import av

from bench.filtergraphs import agree, by_graph, by_libavfilter
from bench.machine import Machine, this_machine
from bench.result import RESULTS, write

_SECONDS = 30.0  # for one text
_EXAMPLE = re.compile(r'<pre class="example[^"]*">(.*?)</pre>', re.DOTALL)
_OPTION = re.compile(r"-(vf|af|lavfi|filter_complex|filter(:[av])?)")
_VIDEO, _OTHER = (f"{name}=s=320x240:r=5:d=2,format=yuv420p" for name in ("testsrc", "testsrc2"))
_AUDIO, _PACKED = "sine=d=0.5:r=8000", ",aformat=sample_fmts=flt"  # the device lavfi gives packed samples only
_INPUTS = {"0:v": _VIDEO, "1:v": _OTHER, "0:a": _AUDIO}


@dataclass(frozen=True)
class Results:
    """texts: found in the page. run: of which libavfilter gives frames; the others of these are their parts.

    unsteady: libavfilter's own runs differ (chance, clocks). different: those that are left, and too_slow: neither
    side was done in time.
    """

    texts: int
    run: int
    same: int
    unsteady: int
    different: tuple[str, ...]
    too_slow: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was measured, where and when."""

    what: str
    date: str
    machine: Machine
    page: str
    results: Results


def texts(page: str) -> list[str]:
    """What may be a graph, each once."""
    found: dict[str, None] = {}
    for block in _EXAMPLE.findall(page):
        plain = html.unescape(re.sub(r"<[^>]+>", "", block)).replace("\\\n", " ").strip()
        lines = [line.strip() for line in plain.split("\n")]
        if re.match(r"(ffmpeg|ffplay|ffprobe)\b", plain):
            given = [text for line in lines for text in of_command(line)]
        else:
            given = [" ".join(lines), *lines]
        found.update(dict.fromkeys(text.strip() for text in given if text.strip()))
    return list(found)


def of_command(line: str) -> Iterator[str]:
    """The graphs in a command line; none in one that no shell can read."""
    try:
        words = shlex.split(line)
    except ValueError:
        return
    for option, text in itertools.pairwise(words):
        if _OPTION.fullmatch(option):
            yield text
    for one, two, three in zip(words, words[1:], words[2:], strict=False):
        if one == "lavfi" and two == "-i":
            yield three


def wholes(text: str) -> Iterator[str]:
    """The text without open inputs, in each way that may be meant."""
    yield text
    labelled = re.sub(r"\[(in|0|1|[01]:0)\]", lambda match: f"[{match[1][0] if match[1] != 'in' else 0}:v]", text)
    used = {name: labelled.count(f"[{name}]") for name in _INPUTS if f"[{name}]" in labelled}
    if used:
        heads = [f"{_INPUTS[name]},{'a' if name == '0:a' else ''}split={count}" + f"[{name}]" * count
                 for name, count in used.items()]
        yield ";".join([*heads, labelled])
        yield ";".join([*heads, labelled]) + _PACKED
    yield f"{_VIDEO},{text}"
    yield f"{_VIDEO}[p];{_OTHER}[q];[p][q]{text}"
    yield f"{_VIDEO}[p];{_OTHER}[q];[p][q]{text}{_PACKED}"
    yield f"{_AUDIO},{text}{_PACKED}"
    yield f"{_AUDIO},{text}"
    yield f"{text}{_PACKED}"


def look(text: str, told: Connection) -> None:
    """Tell ``none``, or ``run`` where libavfilter gives frames and then ``same``, ``unsteady`` or ``different``."""
    av.logging.set_level(None)
    verdict = "none"
    for whole in wholes(text):
        theirs = by_libavfilter(whole)
        if theirs is None or not any(theirs.values()):
            continue
        told.send("run")
        if agree(by_graph(whole), theirs):
            verdict = "same"
            break
        again = all(agree(by_libavfilter(whole), theirs) for _ in range(3))
        verdict = "different" if again else "unsteady"
    told.send(verdict)


def verdict_of(text: str) -> str:
    """As `look` says, in a process of its own; ``slow`` where it was not done in time."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=look, args=(text, theirs))
    process.start()
    theirs.close()
    process.join(_SECONDS)
    verdict = ""
    while mine.poll() and verdict != "end":
        try:
            verdict = mine.recv()
        except EOFError:
            break
    if process.is_alive():
        process.kill()
        process.join()
    return {"": "none", "run": "slow"}.get(verdict, verdict)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.documented_filtergraphs",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "documented_filtergraphs.json")
    options = parser.parse_args(arguments)
    page = options.page.read_text(encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    machine, found = this_machine(), texts(page)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some examples write files
        verdicts = {text: verdict_of(text) for text in found}
    counts = Counter(verdicts.values())
    by = {kind: tuple(text for text, one in verdicts.items() if one == kind) for kind in ("different", "slow")}
    results = Results(len(found), len(found) - counts["none"], counts["same"], counts["unsteady"], by["different"],
                      by["slow"])
    print(json.dumps({"counts": counts, **by}, indent=1))
    write(options.out, Report("graphs of FFmpeg's documentation read by libavfilter's parser and by duoview.Graph",
                              datetime.now(UTC).isoformat(timespec="seconds"), machine,
                              " ".join(title[1].split()) if title else options.page.name, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
