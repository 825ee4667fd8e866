"""Whether our graphs read a text as libavfilter does: generated filtergraphs through both, frames and times compared.

    python -m bench.filtergraphs [--count 10000] [--seed 0] [--out bench/results/filtergraphs.json]

The other side is libavfilter's own parser behind FFmpeg's input device lavfi, which takes graphs without open inputs
whose open outputs are labelled out, out0, out1, ...; those conditions are applied to our graphs as well.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np

from bench.result import RESULTS, measured, write
from duoview import Graph, Profile
from duoview.errors import Error

FRAMES_COMPARED = 40
#: Runs of libavfilter in which a text has to vary that is to count as unsteady.
UNSTEADY_RUNS = 300
SOURCES = (
    "color=s=16x16:r=5:d=1", "color=c=red@0.5:s=16x16:r=4:d=1", "testsrc=s=32x24:r=5:d=1", "testsrc2=s=16x16:r=5:d=1",
    "smptebars=s=16x16:r=5:d=0.8", "rgbtestsrc=s=16x16:r=3:d=1", "color=black:16x16:5:1",
    "testsrc=size='16x16':rate=5:duration=1", "mandelbrot=s=16x16:r=5,trim=end_frame=4",
)  # fmt: skip
ONE_TO_ONE = (
    "null", "hflip", "vflip", "negate", "copy", "scale=8:8", "scale=w=iw/2:h=-2", "scale=iw:ih:flags=neighbor",
    "crop='min(8,iw)':8", "crop=min(8\\,iw):8", "crop=w=min(8\\,iw):h='min(ih,8)'", "fps=3", "fps=fps=10:round=up",
    "setpts=PTS*2", "setpts=N/TB/5", "setpts='if(gt(N,1),PTS,PTS/2)'", "trim=end_frame=3", "trim=start_frame=1",
    "select='not(mod(n,2))'", "format=gray", "format=yuv420p|rgb24", "format=pix_fmts=gbrp", "format=yuv444p10le",
    "drawbox=x=2:y=2:w=5:h=5:color=red@0.5", "drawgrid=w=4:h=4:t=1:c=blue", "negate=enable='between(t,0.2,0.5)'",
    "hflip=enable=gte(n\\,2)", "pad=20:20:2:2", "transpose", "transpose=dir=1", "setsar=1", "settb=1/50", "settb=AVTB",
    "tblend=all_mode=average", "tpad=start=1", "reverse", "loop=1:2", "boxblur=1", "hue=s=0", "lutyuv=y=negval",
    "geq=lum='p(X,Y)/2':cb='128':cr=128", "rotate=PI/6", "fade=in:0:3", "framestep=2", "tmix=frames=2", "swapuv",
    "shuffleplanes=0:2:1", "unsharp=3:3:1", "edgedetect", "curves=preset=negative", "colorchannelmixer=.3:.4:.3",
)  # fmt: skip
JOINS = {
    2: ("overlay", "overlay=x=4:y=2", "overlay=main_w-overlay_w:0:shortest=1", "hstack", "vstack=inputs=2",
        "blend=all_mode=average", "blend=all_expr='A*(X/W)+B*(1-X/W)'", "concat", "concat=n=2", "psnr",
        "interleave", "xfade=duration=0.4:offset=0.2", "mix=2", "lut2", "scale2ref[ref];[ref]nullsink"),
    3: ("hstack=inputs=3", "vstack=3", "mix=inputs=3:weights='1 2 1'", "concat=n=3", "interleave=3"),
}  # fmt: skip
SPLITS = (("split", 2), ("split=2", 2), ("split=outputs=3", 3), ("extractplanes=y+u", 2), ("select=1:e=n:outputs=2", 2))
SPACES = ("", "", "", " ", "\n", "  ")
NOISE = ("'", "\\", ",", ";", "[", "]", ":", "=", "@", " ", "x", "[a]", "[out]", "[in]", "\\,", "''", ";;", ",,", "|")
Frames: TypeAlias = "dict[int, list[tuple[Any, ...]]]"


def generated(seed: int) -> str:
    """A filtergraph text: a random graph with random labels, spaces and names, in two of five cases damaged."""
    draw = random.Random(seed)
    pieces = _graph(draw)
    if draw.random() < 0.4:
        _damage(draw, pieces)
    return "".join(text for text, _ in pieces)


def by_libavfilter(text: str) -> Frames | None:
    """What libavfilter's own parser makes of a text, per output; None where it refuses it."""
    try:
        with av.open(text, format="lavfi") as container:
            if not container.streams:
                return None
            found: Frames = {stream.index: [] for stream in container.streams}
            for packet in container.demux():
                for frame in packet.decode():
                    assert isinstance(frame, (av.VideoFrame, av.AudioFrame))
                    found[packet.stream_index].append(facts(frame))
                if all(len(frames) >= FRAMES_COMPARED for frames in found.values()):
                    break
            return found
    except (av.error.FFmpegError, ValueError):
        return None


def by_graph(
    text: str, items: Mapping[str, Iterable[av.VideoFrame | av.AudioFrame]] | None = None, rate: Fraction | None = None
) -> Frames | None:
    """What our graph makes of a text, per output; None where it, or the device lavfi in its place, refuses it.

    `items` are pushed into open inputs, whose video has `rate` frames per second.
    """
    items = items or {}
    try:
        with Graph.parse(text, rate=rate) as graph:
            numbers = _numbers([pad.name for pad in graph.outputs])
            if numbers is None or {pad.name for pad in graph.inputs} - set(items):
                return None
            found: Frames = {number: [] for number in numbers.values()}
            for name, frame in graph.run({pad.name: items[pad.name] for pad in graph.inputs}):
                found[numbers[name]].append(facts(frame))
                if all(len(frames) >= FRAMES_COMPARED for frames in found.values()):
                    break
            return found
    except (Error, av.error.FFmpegError):
        return None


def agree(ours: Frames | None, theirs: Frames | None) -> bool:
    """Whether both refused, or gave the same frames as far as both were read."""
    if ours is None or theirs is None:
        return ours is theirs
    if ours.keys() != theirs.keys():
        return False
    return all(ours[number][:FRAMES_COMPARED] == theirs[number][:FRAMES_COMPARED] for number in ours)


def compare(
    text: str,
    ours: Callable[[str], Frames | None] | None = None,
    theirs: Callable[[str], Frames | None] | None = None,
) -> tuple[str, Frames | None]:
    """``same``, ``refused``, ``unsteady`` or ``different``, and libavfilter's frames. ours, theirs: who reads the text.

    Some filters race with themselves: what libavfilter gives for a split frame laid over its own copy differs in two of
    a hundred runs. A text is unsteady where its own runs differ and ours agree with one of some further ones.
    """
    ours, theirs = ours or by_graph, theirs or by_libavfilter
    found = theirs(text)
    if agree(ours(text), found):
        return "refused" if found is None else "same", found
    if all(agree(theirs(text), found) for _ in range(UNSTEADY_RUNS)):
        return "different", found
    return "unsteady" if any(agree(ours(text), theirs(text)) for _ in range(10)) else "different", found


def facts(frame: av.VideoFrame | av.AudioFrame) -> tuple[Any, ...]:
    """Time stamp, time base, properties and a hash of the samples."""
    samples: Any
    if isinstance(frame, av.AudioFrame):
        shape: tuple[Any, ...] = (frame.sample_rate, frame.layout.name, frame.format.name, frame.samples)
        samples = frame.to_ndarray()
    else:
        shape = (frame.width, frame.height, frame.format.name)
        try:
            samples = frame.to_ndarray()
        except (ValueError, AssertionError):  # PyAV knows no array for this pixel format, or not for an odd size
            samples = frame.reformat(format="gbrap16le").to_ndarray()
    return (frame.pts, frame.time_base, *shape, hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest())


def _numbers(names: Sequence[str]) -> dict[str, int] | None:
    numbers: dict[str, int] = {}
    for name in names:
        match = re.fullmatch(r"out([+-]?\d+)?", name)
        number = int(match[1] or 0) if match else -1
        if not 0 <= number < len(names) or number in numbers.values():
            return None
        numbers[name] = number
    return numbers


def _graph(draw: random.Random) -> list[tuple[str, bool]]:
    """Pieces of a text and whether each may be damaged: sources may not, lest they never end."""
    pieces: list[tuple[str, bool]] = []
    unread: list[str] = []
    labels = iter(draw.sample([f"l{index}" for index in range(40)] + ["a", "b:v", "0:v", "in", "x y"], 45))

    def begin() -> None:
        if pieces:
            pieces.append((draw.choice(SPACES) + ";" + draw.choice(SPACES), True))

    def chain(filters: int) -> None:
        for _ in range(filters):
            pieces.append((draw.choice(SPACES) + "," + draw.choice(SPACES), True))
            pieces.append((_named(draw, draw.choice(ONE_TO_ONE)), True))

    def end(count: int) -> None:
        for _ in range(count):
            label = next(labels)
            space = draw.choice(SPACES)
            pieces.append((f"{space}[{label}]", True))
            unread.append(label)

    for _ in range(draw.choice((1, 1, 2, 2, 3))):
        begin()
        pieces.append((draw.choice(SOURCES), False))
        chain(draw.choice((0, 1, 1, 2)))
        end(1)
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        begin()
        kind = draw.random()
        if kind < 0.3 and len(unread) > 1:
            count = 3 if len(unread) > 2 and draw.random() < 0.3 else 2
            read = [unread.pop(draw.randrange(len(unread))) for _ in range(count)]
            pieces.append(("".join(f"[{label}]{draw.choice(SPACES)}" for label in read), True))
            # Formats and sizes are made alike in some cases only: most joins refuse others.
            pieces.append((_named(draw, draw.choice(JOINS[count])), True))
            chain(draw.choice((0, 0, 1)))
            end(1)
        elif kind < 0.6:
            text, count = draw.choice(SPLITS)
            pieces.append((f"[{unread.pop(draw.randrange(len(unread)))}]", True))
            pieces.append((_named(draw, text), True))
            end(count)
        else:
            pieces.append((f"[{unread.pop(draw.randrange(len(unread)))}]", True))
            pieces.append((_named(draw, draw.choice(ONE_TO_ONE)), True))
            chain(draw.choice((0, 1, 2)))
            end(1)
    draw.shuffle(unread)
    if len(unread) == 1 and draw.random() < 0.7:
        pieces.pop()
        if draw.random() < 0.3:
            pieces.append(("[out]", True))
        return _flagged(draw, pieces)
    opened = draw.randrange(1, len(unread) + 1)
    for number, label in enumerate(unread):
        begin()
        pieces.append((f"[{label}]", True))
        pieces.append((f"null[out{number}]" if number < opened else "nullsink", True))
    return _flagged(draw, pieces)


def _flagged(draw: random.Random, pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    if draw.random() < 0.1:
        pieces.insert(0, (f"sws_flags={draw.choice(('neighbor', 'area', 'bilinear+accurate_rnd'))};", True))
    return pieces


def _named(draw: random.Random, text: str) -> str:
    if draw.random() < 0.2:
        name, equals, rest = text.partition("=")
        text = f"{name}@{draw.choice(('one', 'b2', 'x y'))}{equals}{rest}" if "[" not in text else text
    if draw.random() < 0.1:
        text = text.replace("=", " = ", 1)
    return text


def _damage(draw: random.Random, pieces: list[tuple[str, bool]]) -> None:
    for _ in range(draw.choice((1, 1, 2))):
        index = draw.choice([index for index, (_, free) in enumerate(pieces) if free] or [0])
        text, free = pieces[index]
        if not free:
            continue
        at = draw.randrange(len(text) + 1)
        how = draw.randrange(4)
        if how == 0:
            text = text[:at] + text[at + 1 :]
        elif how == 1:
            text = text[:at] + draw.choice(NOISE) + text[at:]
        elif how == 2:
            text = ""
        else:
            other = draw.choice([item for item, allowed in pieces if allowed])
            text = other if draw.random() < 0.5 else text + other
        pieces[index] = (text, free)


@dataclass(frozen=True)
class Settings:
    """How many texts, and the first one's seed."""

    count: int
    seed: int


@dataclass(frozen=True)
class Results:
    """Texts that both took and gave the same frames for, that both refused, and that they differ on (some shown).

    unsteady: those that libavfilter itself gives other frames for from run to run.
    """

    same_frames: int
    both_refused: int
    unsteady: int
    different: int
    frames_compared: int
    several_outputs: int
    seconds: float
    examples: tuple[str, ...]


def run(settings: Settings, *, progress: bool = False) -> Results:
    """Compare on all texts of the settings."""
    counts: collections.Counter[str] = collections.Counter()
    examples: list[str] = []
    begin = time.monotonic()
    for seed in range(settings.seed, settings.seed + settings.count):
        text = generated(seed)
        outcome, theirs = compare(text)
        counts[outcome] += 1
        if outcome == "different":
            examples.append(f"{seed}: {text}")
        elif outcome == "same":
            assert theirs is not None
            counts["several"] += len(theirs) > 1
            counts["frames"] += sum(len(frames) for frames in theirs.values())
        if progress and (seed + 1) % 500 == 0:
            print(f"{seed + 1 - settings.seed} texts: {dict(counts)}", file=sys.stderr)
    return Results(counts["same"], counts["refused"], counts["unsteady"], counts["different"], counts["frames"],
                   counts["several"], time.monotonic() - begin, tuple(examples[:20]))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.filtergraphs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "filtergraphs.json")
    given = parser.parse_args(arguments)
    settings = Settings(given.count, given.seed)
    av.logging.set_level(av.logging.PANIC)
    results = run(settings, progress=True)
    what = "generated filtergraphs read by libavfilter's parser and by duoview.Graph"
    write(given.out, measured(what, Profile(), settings, results))
    print(f"{results.same_frames} the same, {results.both_refused} refused by both, {results.unsteady} unsteady, "
          f"{results.different} different")
    return 1 if results.different else 0


if __name__ == "__main__":
    sys.exit(main())
