"""The clips and pictures that are coded: read once, brought to one form, and kept in memory one set at a time.

Every frame is 4:2:0 in limited-range BT.601 without tags, which is what detectors and decoders take when nothing is
said: no coder pays for telling, and none is read with another matrix than the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from bench.accuracy.truth import LANDMARKS, read_boxes, read_classes, read_landmarks
from bench.average_precision import Reference, read_mot
from duoview.picture import matrix_of

PICTURES = (".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".nut", ".gif")
WIDTH = 640
INTERPOLATION = "BICUBIC"


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one size and rate, numbered from 0 in units of 1 / rate; or still pictures, of any sizes.

    name: of the file, with the frame rate behind ``@``. truth: what is to be found in every frame, where a person wrote
    it down; landmarks: (68, 2) of every picture's face, likewise. sha256: of every sample, the rate and the truth.
    """

    name: str
    frames: tuple[av.VideoFrame, ...]
    rate: Fraction
    truth: tuple[Reference, ...] | None
    sha256: str
    still: bool = False
    landmarks: tuple[NDArray[np.float64], ...] | None = None

    @property
    def width(self) -> int:
        """In pixels; of the widest picture."""
        return max(frame.width for frame in self.frames)

    @property
    def height(self) -> int:
        """In pixels; of the tallest picture."""
        return max(frame.height for frame in self.frames)

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return sum(frame.width * frame.height for frame in self.frames)

    @property
    def block(self) -> int:
        """Frames of two seconds, which are much alike and hold one key frame of most coders; 1 of pictures."""
        return 1 if self.still else max(1, round(2 * self.rate))

    def files(self) -> list[Clip]:
        """What is coded into one file each: all frames, or every picture by itself."""
        return [replace(self, frames=(frame,)) for frame in self.frames] if self.still else [self]

    def only(self, number: int) -> Clip:
        """One frame with what is known of it."""
        return replace(self, frames=self.frames[number:number + 1],
                       truth=None if self.truth is None else self.truth[number:number + 1],
                       landmarks=None if self.landmarks is None else self.landmarks[number:number + 1])

    def scaled(self, factor: float) -> Clip:
        """The same frames smaller, of even sides, bicubic."""
        width, height = (max(2, 2 * round(side * factor / 2)) for side in (self.width, self.height))
        scaler = VideoReformatter()
        frames: list[av.VideoFrame] = []
        for frame in self.frames:
            small = scaler.reformat(frame, width=width, height=height, format="yuv420p", interpolation=INTERPOLATION,
                                    threads=1)
            frames.append(_stamped(small, len(frames), self.rate))
        return replace(self, frames=tuple(frames))


def find(places: Iterable[Path]) -> list[Path]:
    """The clips among files and in folders, by name. Raises FileNotFoundError for a place that has none."""
    found: list[Path] = []
    for place in places:
        inside = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES) if place.is_dir() else (
            [place] if place.is_file() else [])
        if not inside:
            raise FileNotFoundError(f"{place}: no such clip, and no folder with any ({' '.join(SUFFIXES)})")
        found += inside
    twice = sorted({path.stem for path in found if sum(other.stem == path.stem for other in found) > 1})
    if twice:
        raise ValueError(f"clips of the same name: {', '.join(twice)}; results are kept by name")
    return found


def rate_of(text: str) -> Fraction | None:
    """``full`` is None; anything else a positive number of frames per second. Raises ValueError."""
    if text == "full":
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError(f"frame rate {text!r}: expected full or a positive number, such as 5 or 30000/1001")
    return rate


def load(path: Path, *, rate: Fraction | None = None, width: int = WIDTH, limit: int | None = None) -> Clip:
    """Read a clip.

    Args:
        path: any video; ground truth in MOT15's form is read from NAME.gt.txt beside it.
        rate: frames per second to thin out to, by leaving frames out; None, or more than there are, keeps all.
        width: in pixels, the aspect kept; narrower clips stay as they are. 0 keeps every size.
        limit: frames after thinning.

    Raises ValueError for a clip without frames.
    """
    truth_path = path.with_suffix(".gt.txt")
    truth = truth_path if truth_path.is_file() else None
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        own = Fraction(stream.average_rate or stream.guessed_rate or 25)
        if rate is None or rate > own:
            rate = own
        shape: tuple[int, int] | None = None
        frames: list[av.VideoFrame] = []
        kept: list[int] = []
        total = 0
        scaler = VideoReformatter()
        digest = hashlib.sha256(f"{rate}".encode())
        for number, frame in enumerate(source.decode(stream)):
            total = number + 1
            if limit is not None and len(frames) >= limit:
                if truth is None:
                    break
                continue  # the truth of a whole clip is checked against its number of frames
            if number and number * rate // own == (number - 1) * rate // own:
                continue
            shape = shape or _target(frame.width, frame.height, width)
            if truth is not None and not kept:
                factors = (shape[0] / frame.width, shape[1] / frame.height)
            picture = scaler.reformat(
                frame, width=shape[0], height=shape[1], format="yuv420p", interpolation=INTERPOLATION, threads=1,
                src_colorspace=matrix_of(frame), dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
            samples = picture.to_ndarray()
            digest.update(samples.tobytes())
            # A fresh frame: nothing of the source's tags, side data or picture types comes along.
            frames.append(_stamped(av.VideoFrame.from_ndarray(samples, format="yuv420p"), len(frames), rate))
            kept.append(number)
    if not frames:
        raise ValueError(f"{path}: no frame can be read from it")
    references = None
    if truth is not None:
        everything = read_mot(truth, total)
        references = tuple(_enlarged(everything[number], *factors) for number in kept)
        for item in references:
            digest.update(_bytes_of(item))
    return Clip(f"{path.stem}@{_shown(rate)}", tuple(frames), rate, references, digest.hexdigest())


def load_pictures(folder: Path, *, width: int = WIDTH, limit: int | None = None) -> Clip:
    """The pictures of a folder by name, those that are wider made smaller as in `load`.

    Boxes in YOLO's form are read from NAME.txt beside NAME.jpg, where the folder has any; a picture without such a file
    then holds nothing. Landmarks are read from landmarks68.csv, which has to name every picture.

    Raises FileNotFoundError when there is none, ValueError for truth that cannot be read.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{folder}: no folder with any picture ({' '.join(PICTURES)})")
    boxed = any(path.with_suffix(".txt").is_file() for path in paths)
    names = read_classes(folder) if boxed else ()
    faces = read_landmarks(folder / LANDMARKS) if (folder / LANDMARKS).is_file() else None
    rate, scaler, digest = Fraction(1), VideoReformatter(), hashlib.sha256(b"pictures")
    frames: list[av.VideoFrame] = []
    truth: list[Reference] = []
    landmarks: list[NDArray[np.float64]] = []
    for path in paths[:limit]:
        with Image.open(path) as picture:
            source = av.VideoFrame.from_ndarray(np.array(picture.convert("RGB")), format="rgb24")
        shape = _target(source.width, source.height, width)
        samples = scaler.reformat(source, width=shape[0], height=shape[1], format="yuv420p", threads=1,
                                  interpolation=INTERPOLATION, dst_colorspace=Colorspace.ITU601,
                                  dst_color_range=ColorRange.MPEG).to_ndarray()
        digest.update(f"{shape}".encode() + samples.tobytes())
        frames.append(_stamped(av.VideoFrame.from_ndarray(samples, format="yuv420p"), 0, rate))
        if boxed:
            truth.append(read_boxes(path.with_suffix(".txt"), *shape, names))
            digest.update(_bytes_of(truth[-1]))
        if faces is not None:
            if path.name not in faces:
                raise ValueError(f"{folder / LANDMARKS}: no line for {path.name}; expected one for every picture")
            landmarks.append(faces[path.name] * (shape[0] / source.width, shape[1] / source.height))
            digest.update(landmarks[-1].tobytes())
    return Clip(f"{folder.resolve().name} (pictures)", tuple(frames), rate, tuple(truth) if boxed else None,
                digest.hexdigest(), still=True, landmarks=tuple(landmarks) if faces is not None else None)


def same_size(frames: Sequence[av.VideoFrame], width: int, height: int) -> Iterator[av.VideoFrame]:
    """Frames brought to a size where they have another, bicubic."""
    scaler = VideoReformatter()
    for frame in frames:
        if (frame.width, frame.height) == (width, height):
            yield frame
        else:
            yield scaler.reformat(frame, width=width, height=height, interpolation=INTERPOLATION, threads=1)


def _target(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Even sides, at most so wide."""
    if not wanted or width <= wanted:
        return width - width % 2, height - height % 2
    return wanted - wanted % 2, max(2, 2 * round(height * wanted / width / 2))


def _stamped(frame: av.VideoFrame, number: int, rate: Fraction) -> av.VideoFrame:
    frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, 0
    return frame


def _enlarged(reference: Reference, across: float, down: float) -> Reference:
    return replace(reference, boxes=np.asarray(reference.boxes) * np.array([across, down] * 2))


def _bytes_of(reference: Reference) -> bytes:
    parts = reference.names, reference.ids
    return np.asarray(reference.boxes, np.float64).tobytes() + reference.ignored.tobytes() + repr(parts).encode()


def _shown(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
