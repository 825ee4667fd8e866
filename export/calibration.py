"""What the networks of a profile are given when real pictures are coded: samples to calibrate and to compare with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend, CpuBackend, Network
from duoview.decoder import Decoder
from duoview.encoder import Encoder
from duoview.picture import PictureReader
from duoview.profile import Profile

#: Quality indices that are measured at; calibration takes all of them.
QUALITIES = (10, 26, 42)
#: Ends of the names of pictures and videos.
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".mp4", ".avi", ".mpg", ".mkv", ".mov", ".gif",
                      ".nut", ".webm", ".tif", ".tiff", ".m4v", ".mpeg", ".ts", ".flv", ".y4m"))
#: Pixels by which a view of a picture moves, and the least side that it keeps.
PAN, LEAST_VIEW = 3, 64


@dataclass(frozen=True)
class Clip:
    """Frames of one picture or video, and their pixels as the codec reads them: uint8 (3, H, W), not padded."""

    name: str
    frames: tuple[av.VideoFrame, ...]
    pixels: tuple[NDArray[np.uint8], ...]


def files(paths: Sequence[Path]) -> list[Path]:
    """The paths, each once, every picture and video below a folder in place of it, by the ends of their names.

    Raises ValueError for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        below = [path]
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        if not below:
            raise ValueError(f"{path}: no picture or video below this folder; expected {', '.join(sorted(SUFFIXES))}")
        found += below
    return list({one.resolve(): one for one in found}.values())


def read_clip(path: Path, *, frames: int, step: int, side: int) -> Clip:
    """Up to ``frames`` frames of a file, every ``step``-th, scaled down until no side is longer than ``side`` pixels.

    Raises ValueError naming the file when it cannot be read or has no pictures.
    """
    try:
        return _read_clip(path, frames=frames, step=step, side=side)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); expected a picture or video") from error


def _read_clip(path: Path, *, frames: int, step: int, side: int) -> Clip:
    found = []
    with av.open(str(path)) as source:
        if not source.streams.video:
            raise ValueError(f"{path}: no video or picture in it")
        for number, frame in enumerate(source.decode(video=0)):
            if number % step:
                continue
            scale = min(1.0, side / max(frame.width, frame.height))
            if scale < 1:
                width, height = (max(2, round(n * scale / 2) * 2) for n in (frame.width, frame.height))
                frame = frame.reformat(width=width, height=height)
            frame.pict_type = 0
            found.append(frame)
            if len(found) == frames:
                break
    if not found:
        raise ValueError(f"{path}: no picture in it")
    return Clip(path.name, tuple(found), tuple(pixels(frame) for frame in found))


def in_motion(clip: Clip, frames: int) -> Clip:
    """A clip of one picture as one of up to ``frames`` frames: a view that moves over it, PAN pixels each way a frame.

    P frames are calibrated with it then as well, whose networks would else know the few scenes of videos alone. A clip
    of more frames, and a picture too small to be moved over, stays as it is.
    """
    height, width = clip.pixels[0].shape[1:]
    count = min(frames, (min(height, width) - LEAST_VIEW) // PAN + 1)
    if len(clip.frames) > 1 or count < 2:
        return clip
    picture, away = np.moveaxis(clip.pixels[0], 0, -1), PAN * (count - 1)
    rows, columns = (height - away) // 2 * 2, (width - away) // 2 * 2
    crops = [picture[at:at + rows, away - at:away - at + columns] for at in range(0, away + 1, PAN)]
    views = [av.VideoFrame.from_ndarray(np.ascontiguousarray(crop), "rgb24") for crop in crops]
    return Clip(clip.name, tuple(views), tuple(map(pixels, views)))


def pixels(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """uint8 (3, H, W): a frame's RGB as the codec converts it."""
    return PictureReader().read(frame)[0, :, :frame.height, :frame.width].copy()


@dataclass
class Recorded:
    """A network that keeps copies of what it was given."""

    network: Network
    samples: list[dict[str, NDArray[Any]]]

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        self.samples.append({name: np.array(value) for name, value in inputs.items()})
        return self.network(**inputs)


class RecordingBackend:
    """Loads networks through another backend and keeps every call's inputs, by the name of the network's file.

    only: names of the networks whose calls are kept; None for all.
    """

    def __init__(self, backend: Backend, only: Collection[str] | None = None) -> None:
        self.backend, self.name, self._only = backend, backend.name, only
        self.samples: dict[str, list[dict[str, NDArray[Any]]]] = {}

    def load(self, path: Path) -> Network:
        if self._only is not None and path.stem not in self._only:
            return self.backend.load(path)
        return Recorded(self.backend.load(path), self.samples.setdefault(path.stem, []))


def samples(profile: Profile, clips: Sequence[Clip], *, threads: int = 1, only: Collection[str] | None = None
            ) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Inputs of every network, or of those named, on the way of the clips through encoder and decoder, by network.

    Golden vectors, which exact networks are loaded with, are among theirs. All of it is held in memory, at every one of
    QUALITIES anew (``distinct``): it grows with the number of frames and of their pixels.
    """
    recorder = RecordingBackend(CpuBackend(threads), only)
    for clip in clips:
        for q in QUALITIES:
            for _ in coded(profile, recorder, recorder, clip, q):
                pass
    return recorder.samples


def distinct(calls: Sequence[dict[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
    """Each call once, in their order: E is given the same pictures at every quality index."""
    found: dict[tuple[object, ...], dict[str, NDArray[Any]]] = {}
    for call in calls:
        found.setdefault(tuple((name, value.shape, hashlib.sha256(np.ascontiguousarray(value).data).digest())
                               for name, value in sorted(call.items())), call)
    return list(found.values())


def coded(profile: Profile, encoding: Backend, decoding: Backend, clip: Clip, q: int, decoder: Profile | None = None
          ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Bytes of each frame's access unit, and its machine view, uint8 (3, H, W).

    decoder: the profile of the decoder, the encoder's by default.
    """
    first = clip.frames[0]
    encoder = Encoder(first.width, first.height, q=q, gop=len(clip.frames), profile=profile, device=encoding)
    player = Decoder(profile=decoder or profile, device=decoding, strict=True)
    for frame in clip.frames:
        (packet,) = encoder.encode(frame)
        (view,) = player.decode(packet)
        yield packet.size, pixels(view)
