"""Pictures from folders of videos and of images, labelled by detectors: what the saliency network learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from duoview.models.data import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Picture
from duoview.models.object_labels import Found
from duoview.picture import matrix_of

#: Small pictures are enlarged by this at most.
LARGEST_SCALE = 1.5
#: Pictures with a smaller side than this, once scaled, are left out.
LEAST_SIDE = 96
#: Frames that a background is the median of, at most and at least; odd, so that the median is one of them.
BACKGROUND_FRAMES = (31, 5)
#: Where frames are on average as far as this from their median, the camera moves or the scene changes.
MOVED = 32.0


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture (H, W, 3), the boxes found in it (N, 4) x0 y0 x1 y1 in pixels, and how sure they are, (N,) in 0..1.

    ``source`` names the clip or set it is from: all of one source is held back, or nothing. ``background`` is what a
    fixed camera sees when nobody is there, None where that is not known.
    """

    source: str
    picture: Picture
    boxes: NDArray[np.float32]
    strengths: NDArray[np.float32]
    background: Picture | None = None


@dataclass(frozen=True)
class Source:
    """A video, or the images of one folder, and how many pictures are taken of it, spread evenly."""

    name: str
    paths: tuple[Path, ...]
    video: bool
    count: int


def find_sources(videos: Sequence[Path], images: Sequence[Path], *, frames: int = 100, stills: int = 500,
                 pictures: int = 4000) -> list[Source]:
    """Every video below the folders ``videos`` and every folder of images below ``images`` is a source.

    A .png beside a .jpg of its name is a label map and left out. Memory is bounded by the three limits: ``frames`` of
    a video, ``stills`` of a folder, and ``pictures`` in all, to which the others are lowered in proportion.
    Raises NotADirectoryError for a folder that is not there, FileNotFoundError when nothing is found, ValueError for
    limits below 1 or more sources than pictures.
    """
    for name, limit in (("frames", frames), ("stills", stills), ("pictures", pictures)):
        if limit < 1:
            raise ValueError(f"{name}={limit}: expected 1 or more")
    for folder in (*videos, *images):
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: no such folder")
    found = [Source(path.name, (path,), True, frames) for folder in videos for path in sorted(folder.rglob("*"))
             if path.suffix.lower() in VIDEO_SUFFIXES]
    for folder in images:
        for inner in sorted({path.parent for path in folder.rglob("*")}):
            paths = tuple(path for path in sorted(inner.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES and not (
                path.suffix.lower() == ".png" and path.with_suffix(".jpg").exists()))
            if paths:
                name = "/".join((folder.resolve().name, *inner.relative_to(folder).parts))
                found.append(Source(name, paths, False, min(stills, len(paths))))
    if not found:
        raise FileNotFoundError("no video and no image in " + ", ".join(map(str, (*videos, *images))))
    if len(found) > pictures:
        raise ValueError(f"pictures={pictures}: expected one or more for each of the {len(found)} sources")
    total = sum(source.count for source in found)
    if total > pictures:  # rounded down, but one is left of each; what that adds is taken from the largest
        found = [replace(source, count=max(1, source.count * pictures // total)) for source in found]
        while sum(source.count for source in found) > pictures:
            largest = max(range(len(found)), key=lambda n: found[n].count)
            found[largest] = replace(found[largest], count=found[largest].count - 1)
    return found


def scaled(frame: av.VideoFrame, side: int) -> Picture:
    """A frame as RGB (H, W, 3), its longer side ``side`` or less, both even."""
    scale = min(LARGEST_SCALE, side / max(frame.width, frame.height))
    width, height = (max(2, round(n * scale) // 2 * 2) for n in (frame.width, frame.height))
    how = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
    small = frame.reformat(width, height, "rgb24", src_colorspace=matrix_of(frame), interpolation=how)
    return small.to_ndarray().astype(np.uint8, copy=False)


def read_source(source: Source, side: int = 640) -> Iterator[Picture]:
    """The pictures of a source; of a video at most every second frame, since neighbours tell nothing new.

    An image that cannot be read is named and left out. Raises av.FFmpegError for a damaged video, ValueError for one
    without frames.
    """
    if source.video:
        yield from _read_video(source.paths[0], source.count, side)
        return
    for at in np.linspace(0, len(source.paths) - 1, source.count).round().astype(int):
        path = source.paths[at]
        try:
            with av.open(str(path)) as container:
                frame = next(container.decode(video=0), None)
                if frame is None:
                    raise ValueError("no picture in this file")
                yield scaled(frame, side)
        except (av.FFmpegError, ValueError, IndexError) as error:
            print(f"left out {path.name}: {error}")


def _read_video(path: Path, count: int, side: int) -> Iterator[Picture]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream in this file")
        # Packets are counted without being decoded: what containers tell of their length is not always true.
        total = sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)
    if not total:
        raise ValueError("no frame in this file")
    step = max(2, -(-total // count))
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % step == 0 and number < step * count:
                yield scaled(frame, side)


def background_of(pictures: Sequence[Picture]) -> Picture | None:
    """The median of a clip; None where the camera moves, the size changes, or there are too few pictures."""
    most, least = BACKGROUND_FRAMES
    if len(pictures) < least or any(one.shape != pictures[0].shape for one in pictures):
        return None
    count = min(most, len(pictures) - (len(pictures) + 1) % 2)
    some = np.stack([pictures[at] for at in np.linspace(0, len(pictures) - 1, count).round().astype(int)])
    median: Picture = np.partition(some, count // 2, axis=0)[count // 2]
    apart = np.mean([np.abs(one.astype(np.int16) - median).mean() for one in some])
    return median if apart < MOVED else None


def label(sources: Sequence[Source], labels: Callable[[Picture], Found], *, side: int = 640) -> list[LabelledPicture]:
    """All pictures of all sources with what ``labels`` finds in them.

    A source that cannot be read, or whose pictures are too small, is named and left out. Raises FileNotFoundError when
    nothing is left.
    """
    items: list[LabelledPicture] = []
    for source in sources:
        try:
            pictures = [one for one in read_source(source, side) if min(one.shape[:2]) >= LEAST_SIDE]
        except (av.FFmpegError, ValueError) as error:
            print(f"left out {source.name}: {error}", flush=True)
            continue
        if not pictures:
            print(f"left out {source.name}: no picture of {LEAST_SIDE}x{LEAST_SIDE} or more", flush=True)
            continue
        background = background_of(pictures) if source.video else None
        found = [labels(picture) for picture in pictures]
        items += [LabelledPicture(source.name, picture, boxes, strengths, background)
                  for picture, (boxes, strengths) in zip(pictures, found, strict=True)]
        sure = sum(int((strengths >= 0.95).sum()) for _, strengths in found)
        print(f"{source.name}: {len(found)} pictures, {sure / len(found):.1f} sure objects in each, "
              f"{'a' if background is not None else 'no'} background", flush=True)
    if not items:
        raise FileNotFoundError("no picture that can be read in " + ", ".join(source.name for source in sources))
    return items


def hold_back(items: Sequence[LabelledPicture], names: Sequence[str], check: int = 60
              ) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """(pictures to train on, at most ``check`` held-back ones, spread evenly), by parts of the names of their sources.

    Raises ValueError for a name that is no source's, and when nothing is left to train on.
    """
    known = sorted({item.source for item in items})
    for name in names:
        if not any(name in source for source in known):
            raise ValueError(f"held back {name!r}: no source of that name; there are {', '.join(known)}")
    train = [item for item in items if not any(name in item.source for name in names)]
    held = [item for item in items if any(name in item.source for name in names)]
    if not train:
        raise ValueError("held back: every source; expected that some are left to train on")
    spread = np.linspace(0, len(held) - 1, min(check, len(held))).round().astype(int)
    return train, [held[at] for at in spread]
