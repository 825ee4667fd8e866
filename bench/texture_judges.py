"""What judges of detection and of landmarks say of the texture view, beside the machine view of the same key units.

    python -m bench.texture_judges --profile FOLDER --stills FOLDER... --weights FOLDER... [--limit N]

Boxes and landmarks come from the folders (NAME.txt beside NAME.jpg, landmarks68.csv), as in the bench of accuracy. A
judge whose answer needs truth that a folder does not have says nothing of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from bench.accuracy.clip import WIDTH, Clip, load_pictures
from bench.accuracy.judges import open_named
from bench.accuracy.metric import Accuracy
from bench.pictures import planar_rgb
from bench.result import RESULTS, measured, write
from duoview import Decoder, Depths, Encoder, Profile
from duoview.access_unit import parse, serialize
from duoview.texture.cutting import TextureCutter

JUDGES = ("picodet", "pfld68")


@dataclass(frozen=True)
class Settings:
    """What was coded and who judged."""

    stills: tuple[str, ...]
    pictures: int
    qualities: tuple[int, ...]
    depths: tuple[int, ...]
    judges: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class Row:
    """One view of one folder: depth 0 is the machine view. bpp: mean bits per pixel of whole units."""

    folder: str
    judge: str
    q: int
    depth: int
    bpp: float
    accuracy: Accuracy


@dataclass(frozen=True)
class Results:
    """All rows; those of the source have q and depth -1."""

    rows: tuple[Row, ...]


def views(profile: Profile, clip: Clip, q: int, depths: Sequence[int], threads: int
          ) -> dict[int, tuple[float, list[av.VideoFrame]]]:
    """By depth, mean bits per pixel and the pictures that are shown."""
    deepest = profile.texture().depth
    decoders = {view: Decoder(profile=profile, threads=threads, view=view, strict=True)
                for view in ("machine", "texture")}
    encoder: Encoder | None = None
    found: dict[int, tuple[list[float], list[av.VideoFrame]]] = {depth: ([], []) for depth in depths}
    for source in clip.frames:
        if encoder is None:
            encoder = Encoder(source.width, source.height, q=q, profile=profile, threads=threads, texture=deepest)
        (packet,) = encoder.encode(source, key=True)
        whole = parse(bytes(packet))
        for depth, (rates, frames) in found.items():
            unit = serialize(TextureCutter(Depths(depth)).cut(whole))
            (shown,) = decoders["texture" if depth else "machine"].decode(unit)
            rates.append(8 * len(unit) / (source.width * source.height))
            frames.append(av.VideoFrame.from_ndarray(planar_rgb(shown), format="rgb24"))
    return {depth: (float(np.mean(rates)), frames) for depth, (rates, frames) in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.texture_judges", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", required=True, help="folder of a profile with a texture layer")
    parser.add_argument("--stills", type=Path, nargs="+", required=True, help="folders of pictures with their truth")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="folders of the judges' networks")
    parser.add_argument("--judges", nargs="+", default=JUDGES)
    parser.add_argument("--limit", type=int, help="at most so many pictures of a folder")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the pictures at most")
    parser.add_argument("--qualities", type=int, nargs="+", default=[8, 24])
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 2, 4, 6])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULTS / "texture_judges.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    judges = [open_named(name, options.weights, threads=options.threads) for name in options.judges]
    rows: list[Row] = []
    count = 0
    for folder in options.stills:
        clip = load_pictures(folder, width=options.width, limit=options.limit)
        count += len(clip.frames)
        looking = [judge for judge in judges if judge.task != "landmarks" or clip.landmarks is not None]
        seen = {judge.name: judge.look(clip.frames, clip) for judge in looking}
        rows += [Row(folder.name, judge.name, -1, -1, 0.0, judge.accuracy(seen[judge.name], seen[judge.name], clip))
                 for judge in looking]
        for q in options.qualities:
            for depth, (bpp, frames) in views(profile, clip, q, options.depths, options.threads).items():
                for judge in looking:
                    accuracy = judge.accuracy(judge.look(frames, clip), seen[judge.name], clip)
                    rows.append(Row(folder.name, judge.name, q, depth, bpp, accuracy))
                    print(f"{folder.name} {judge.name} q {q} depth {depth}: {bpp:.3f} bpp, {accuracy}", flush=True)
    settings = Settings(tuple(folder.name for folder in options.stills), count, tuple(options.qualities),
                        tuple(options.depths), tuple(options.judges), options.threads)
    write(options.json, measured("Judges of the texture view and of the machine view", profile, settings,
                                 Results(tuple(rows))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
