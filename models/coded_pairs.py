"""Pairs of pictures before and after a standard codec, for networks that work behind one.

Made by our own inner encoder and decoder, with the key frames, rates and conversions that a stream has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections
from duoview.inner.decoder import InnerDecoder
from duoview.inner.encoder import InnerEncoder
from duoview.inner.guide import Guide
from duoview.inner.pictures import coded_colour
from duoview.inner.settings import CODEC_NAMES, InnerSettings
from duoview.inner.standard import InnerPacket
from duoview.models.data import VIDEO_SUFFIXES
from duoview.picture import PictureReader, scaled_picture
from duoview.profile import Profile

Pictures = NDArray[np.uint8]
#: What is done to frames before they are encoded at a quality index: as many frames come back, possibly smaller ones.
Simplify = Callable[[Sequence[av.VideoFrame], int], Sequence[av.VideoFrame]]
#: Finds objects in frames.
Finder = Callable[[Sequence[av.VideoFrame]], Sequence[Detections]]
KEY_SECONDS = 2


@dataclass(eq=False)
class Scene:
    """Consecutive frames of one size, and what was found in them so far. ``source`` names the clip they are from."""

    source: str
    rate: Fraction
    frames: list[av.VideoFrame]
    found: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def boxes(self, at: int, finder: Finder, least: float = 0.3) -> NDArray[np.float32]:
        """Boxes (N, 4) of the objects in a frame, asked for once."""
        if at not in self.found:
            (detections,) = finder([self.frames[at]])
            self.found[at] = detections.above(least).boxes
        return self.found[at]


@dataclass(frozen=True, eq=False)
class CodedClip:
    """Frames before and after a codec: source and coded (T, 3, H, W) uint8 RGB, and boxes (N, 4) of every frame.

    ``starts[t]`` is the frame with which the group of frame t begins, before which no decoder remembers anything.
    """

    source: Pictures
    coded: Pictures
    boxes: tuple[NDArray[np.float32], ...]
    starts: tuple[int, ...]
    q: int
    rate: Fraction
    bytes: int

    def before(self, at: int) -> tuple[int, int]:
        """The frames that a decoder has one and two before a frame; at the start of a group the nearest it has."""
        return max(at - 1, self.starts[at]), max(at - 2, self.starts[at])


def read_scenes(path: Path, *, count: int, frames: int, side: int = 640, fastest: float = 30.0) -> list[Scene]:
    """Up to ``count`` scenes of ``frames`` frames, spread evenly over a video that is scaled to ``side`` at most.

    Of more than ``fastest`` frames a second every second (third, ...) is taken. Raises ValueError for a file without
    video, av.FFmpegError for a damaged one.
    """
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: no video stream in this file")
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25)
        step = int(np.ceil(float(rate) / fastest - 1e-3))
        total = sum(1 for _ in container.decode(stream)) // step
    count = max(1, min(count, total // frames))
    begin = [round(n * (total - frames) / max(1, count - 1)) if count > 1 else 0 for n in range(count)]
    scenes = [Scene(path.stem, rate / step, []) for _ in begin]
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            at = number // step
            if number % step:
                continue
            wanted = [s for s, first in zip(scenes, begin, strict=True) if first <= at < first + frames]
            if wanted:
                scale = min(1.0, side / max(frame.width, frame.height))
                width, height = (round(n * scale) // 2 * 2 for n in (frame.width, frame.height))
                small = frame.reformat(width, height, "yuv420p", interpolation="AREA")
                for scene in wanted:
                    scene.frames.append(small)
    return [scene for scene in scenes if scene.frames]


def read_folder(folder: Path, *, held: Sequence[str], count: int = 3, frames: int = 120, least: int = 192
                ) -> tuple[list[Scene], list[Scene]]:
    """(scenes to train on, scenes held back) of the videos in a folder; GIFs, whose palettes dither, are left out.

    A file that cannot be read, or whose pictures are smaller than ``least``, is named and left out. Raises
    FileNotFoundError when nothing is left.
    """
    train: list[Scene] = []
    kept: list[Scene] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES - {".gif"}:
            continue
        try:
            scenes = read_scenes(path, count=count, frames=frames)
        except (av.FFmpegError, ValueError) as error:
            print(f"left out {path.name}: {error}")
            continue
        if not scenes or len(scenes[0].frames) < 8 or min(scenes[0].frames[0].width,
                                                          scenes[0].frames[0].height) < least:
            print(f"left out {path.name}: fewer than 8 frames, or smaller than {least} pixels")
            continue
        (kept if any(name in path.name for name in held) else train).extend(scenes)
    if not train:
        raise FileNotFoundError(f"{folder}: no video to train on that is not held back")
    return train, kept


def every(scene: Scene, rate: float) -> list[int]:
    """The frames of a scene that a camera of about that rate would give; a rate of 0 gives all."""
    step = max(1, round(float(scene.rate) / rate)) if rate else 1
    return list(range(0, len(scene.frames), step))


def code(frames: Sequence[av.VideoFrame], settings: InnerSettings, rate: Fraction, profile: Profile | None = None
         ) -> Iterator[tuple[int, bool, int, av.VideoFrame, tuple[int, int]]]:
    """Encode and decode frames: (number, whether it is a key frame, bytes, decoded frame, coded size).

    In the order in which they are shown. The bytes are those of its packet and of the background that its unit carries;
    the coded size (width, height) is without what extends the picture.

    profile: its saliency network guides the encoder, where the settings say so; None for no guidance.
    """
    first = frames[0]
    guide = Guide(settings.simplify, settings.roi, profile, threads=1, rate=float(rate),
                  able=settings.kind.regions) if profile is not None else None
    encoder = InnerEncoder(settings, first.width, first.height, rate=rate, colour=coded_colour(first))
    decoder = InnerDecoder(CODEC_NAMES[settings.codec], *encoder.size, threads=1)
    packets = []
    for ticket, frame in enumerate(frames):
        packets += encoder.encode(frame, ticket, key=ticket == 0, importance=guide.look(frame) if guide else None)
    packets += encoder.flush()
    told = {packet.ticket: (packet.key, len(packet.data) + carried(packet)) for packet in packets}
    for packet in packets:
        if packet.background is not None:  # what it refers to comes first, and is not shown
            shown = decoder.decode(packet.background.packet, -1 - packet.ticket)
            yield from ((ticket, *told[ticket], frame, encoder.size) for ticket, frame in shown if ticket in told)
        for ticket, frame in decoder.decode(packet.data, packet.ticket):
            if ticket in told:
                yield ticket, *told[ticket], frame, encoder.size
    yield from ((ticket, *told[ticket], frame, encoder.size) for ticket, frame in decoder.flush() if ticket in told)


def carried(packet: InnerPacket) -> int:
    """Bytes of the background that the unit of a packet carries; the other units only name it."""
    background = packet.background
    return len(background.packet) if background is not None and background.ticket == packet.ticket else 0


def coded_clip(scene: Scene, chosen: Sequence[int], q: int, finder: Finder, *, scale: float | None = None,
               codec: str = "hevc", preset: str = "", simplify: Simplify | None = None,
               profile: Profile | None = None) -> CodedClip:
    """The chosen frames of a scene, simplified, encoded and decoded, at the size of the source.

    scale: of the coded pictures to the source's, None for the encoder's choice. profile: as for `code`.
    Raises ValueError when ``simplify`` or the codec gives another number of frames.
    """
    frames = [scene.frames[at] for at in chosen]
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    rate = scene.rate / step
    size = (frames[0].width, frames[0].height)
    settings = InnerSettings(codec=codec, preset=preset, q=q, gop=max(1, round(KEY_SECONDS * rate)), threads=1,
                             scale=scale)
    given = simplify(frames, q) if simplify is not None else frames
    if len(given) != len(frames):
        raise ValueError(f"simplify gave {len(given)} frames for {len(frames)}")
    reader = PictureReader()
    source = np.empty((len(frames), 3, size[1], size[0]), np.uint8)
    coded = np.empty_like(source)
    starts: list[int] = []
    spent = 0
    for at, frame in enumerate(frames):
        source[at] = reader.read(frame)[0, :, :size[1], :size[0]]
    shown = 0
    for ticket, key, length, frame, coded_size in code(given, settings, rate, profile):
        starts.append(ticket if key or not starts else starts[-1])
        picture = scaled_picture(reader, frame, coded_size, size)
        coded[ticket] = picture[0, :, :size[1], :size[0]]
        spent += length
        shown += 1
    if shown != len(frames):
        raise ValueError(f"{settings.encoder} gave {shown} frames for {len(frames)}")
    boxes = tuple(scene.boxes(at, finder) for at in chosen)
    return CodedClip(source, coded, boxes, tuple(starts), q, rate, spent)
