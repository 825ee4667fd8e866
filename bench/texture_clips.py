"""Texture of videos: the nodes of all frames by the texture layer, and by other coders of the same nodes.

    python -m bench.texture_clips --profile FOLDER --clips FILE ... [--frames N] [--side N] [--qualities 16 28 40]

One key frame, then P frames, all with all texture. Others code the nodes that a decoder has after every frame: by one
probability a node, counted on the very clip; by the same for leaves that changed, and one flag for each leaf, at its
entropy, for whether it did; and by zstd -19, each frame alone and the clip as one, where what was before is found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from bench.result import RESULTS, measured, write
from bench.texture import static_bytes
from duoview import Depths, Encoder, Profile, TextureSettings
from duoview.access_unit import SectionType, parse
from duoview.backends import CpuBackend
from duoview.export.calibration import Clip, read_clip
from duoview.machine import MachineLayer
from duoview.texture.decoder import TextureDecoder
from duoview.texture.view import Seen

#: Log2 of the window of zstd: more than the nodes of a clip.
WINDOW_LOG = 27

Nodes = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Settings:
    """Frames of a clip, the longer side of its pictures, quality indices."""

    frames: int
    side: int
    qualities: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """Bytes of the nodes of a clip at one quality index: ours with headers, and others.

    key: of ours, those of the key frame. machine: of the machine layer, beside them. unchanged: of P frames, the share
    of leaves that are as they were in the frame before.
    """

    clip: str
    q: int
    frames: int
    pixels: int
    machine: int
    ours: int
    key: int
    static: int
    static_changes: int
    zstd_frames: int
    zstd_clip: int
    unchanged: float


@dataclass(frozen=True)
class Results:
    """All clips at all quality indices."""

    readings: tuple[Reading, ...]


def coded(profile: Profile, clip: Clip, q: int) -> tuple[list[int], int, list[Nodes]]:
    """Bytes of texture of every frame, of the machine layer in all, and the nodes (G, H, W) of every tile by frame."""
    first, depth = clip.frames[0], profile.texture().depth
    encoder = Encoder(first.width, first.height, q=q, gop=len(clip.frames), profile=profile, threads=1,
                      texture=TextureSettings(Depths(depth), frames="all"))
    backend = CpuBackend(1)
    machine, texture = MachineLayer(profile, backend, encode=False), TextureDecoder(profile, backend)
    sizes: list[int] = []
    nodes: list[Nodes] = []
    machine_bytes = 0
    for frame in clip.frames:
        (packet,) = encoder.encode(frame)
        unit = parse(bytes(packet))
        if unit.sequence is not None:
            texture.begin(unit.sequence)
        payload = unit.payload(SectionType.MACHINE) or b""
        machine.decode(payload, key=unit.key, q=q, width=first.width, height=first.height)
        texture.decode(unit, Seen(unit.key, machine.decoded, None, machine.moved, q))
        if texture.faults:
            raise RuntimeError(f"{clip.name}: {texture.faults[0]}")
        machine_bytes += len(payload)
        sizes.append(sum(len(one.payload) for one in unit.sections if one.type == SectionType.TEXTURE))
        nodes.append([state.nodes.copy() for state in texture.states])
    return sizes, machine_bytes, nodes


def static_changes(frames: Sequence[Nodes], depth: int) -> tuple[int, float]:
    """Bytes of the first frame and of what changes behind it, and the share of leaves that do not."""
    bits = 0.0
    changed_leaves: list[list[NDArray[np.uint8]]] = [[] for _ in frames[0][0]]
    count, same = 0, 0
    for before, after in pairwise(frames):
        for old, new in zip(before, after, strict=True):
            changed = old != new
            count, same = count + changed.size, same + int((~changed).sum())
            for group, leaves in enumerate(changed_leaves):
                leaves.append(new[group][changed[group]])
    for share in (same / max(count, 1), 1 - same / max(count, 1)):
        bits -= count * share * np.log2(share) if share > 0 else 0.0
    total = sum(static_bytes(frames[0], depth)) + round(bits / 8)
    for leaves in changed_leaves:
        total += sum(static_bytes([np.concatenate(leaves)[None]], depth))
    return total, same / max(count, 1)


def reading(profile: Profile, clip: Clip, q: int) -> Reading:
    """One clip at one quality index."""
    sizes, machine, frames = coded(profile, clip, q)
    depth = profile.texture().depth
    raw = [b"".join(tile.tobytes() for tile in nodes) for nodes in frames]
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=WINDOW_LOG, enable_ldm=True)
    changes, unchanged = static_changes(frames, depth)
    first = clip.frames[0]
    return Reading(clip.name, q, len(frames), first.width * first.height, machine, sum(sizes), sizes[0],
                   sum(static_bytes([tile for nodes in frames for tile in nodes], depth)), changes,
                   sum(len(zstandard.ZstdCompressor(level=19).compress(data)) for data in raw),
                   len(zstandard.ZstdCompressor(compression_params=parameters).compress(b"".join(raw))), unchanged)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.texture_clips", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled profile, or folder of one (default: s)")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="videos")
    parser.add_argument("--frames", type=int, default=25, help="of each video (default: 25)")
    parser.add_argument("--side", type=int, default=640, help="longer side of the pictures at most (default: 640)")
    parser.add_argument("--qualities", type=int, nargs="+", default=[16, 28, 40])
    parser.add_argument("--out", type=Path, default=RESULTS / "texture_clips.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    settings = Settings(options.frames, options.side, tuple(options.qualities))
    found = []
    for path in options.clips:
        clip = read_clip(path, frames=settings.frames, step=1, side=settings.side)
        for q in settings.qualities:
            one = reading(profile, clip, q)
            found.append(one)
            others = {"static": one.static, "static of changes": one.static_changes, "zstd by frame": one.zstd_frames,
                      "zstd by clip": one.zstd_clip}
            print(f"{one.clip} q {q}: {one.ours} bytes ({one.key} of the key frame), {one.unchanged:.0%} of leaves "
                  "unchanged; against "
                  + ", ".join(f"{name} {one.ours / size - 1:+.1%}" for name, size in others.items()), flush=True)
    write(options.out, measured("Texture of videos, and other coders of its nodes", profile, settings,
                                Results(tuple(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
