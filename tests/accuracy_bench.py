"""What the tests of bench/accuracy share: the package, which is no part of the wheel, a clip, and invented verdicts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
from av.filter import Graph

ROOT = Path(__file__).resolve().parent.parent


def module(name: str) -> ModuleType:
    """A module of the checkout's bench/; tests do not see the checkout itself."""
    if "bench" not in sys.modules:
        folder = ROOT / "bench"
        spec = importlib.util.spec_from_file_location("bench", folder / "__init__.py",
                                                      submodule_search_locations=[str(folder)])
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules["bench"] = package
        spec.loader.exec_module(package)
    return importlib.import_module(name)


def lavfi(source: str, count: int) -> list[av.VideoFrame]:
    """Frames of a source of libavfilter, such as ``testsrc2=size=96x64:rate=10``, in 4:2:0."""
    name, _, arguments = source.partition("=")
    graph = Graph()
    nodes = [graph.add(name, arguments), graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    frames = []
    for _ in range(count):
        frame = graph.pull()
        assert isinstance(frame, av.VideoFrame)
        frames.append(frame)
    return frames


def write_clip(path: Path, frames: Sequence[av.VideoFrame], rate: int = 10) -> Path:
    """Write frames, nearly lossless."""
    with av.open(str(path), "w") as sink:
        stream: Any = sink.add_stream("libx264", rate=rate, options={"crf": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number, frame in enumerate(frames):
            frame.pict_type, frame.pts, frame.time_base = 0, number, Fraction(1, rate)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def verdict(**given: Any) -> Any:
    """A verdict with invented values; `ap75` makes its accuracy, nothing where it is None; or `accuracy` is given."""
    ledger, metric = module("bench.accuracy.ledger"), module("bench.accuracy.metric")
    ap75 = given.pop("ap75", 0.5)
    reason = "" if ap75 is not None else "nothing to judge by"
    base = given.get("base", "x265-medium")
    key, latency, scale = given.get("key", "2s"), given.get("latency", "full"), given.get("scale", 1.0)
    label = f"{base}, key {key}" + (", zero latency" if latency == "zero" else "") + (
        f", x{scale:g}" if scale != 1 else "")
    usual = {
        "clip": "street@10", "clip_sha256": "c", "width": 640, "height": 360, "frames": 10, "rate": "10",
        "codec": label, "base": base, "ours": False, "key": key, "latency": latency, "scale": scale, "version": "v",
        "quality": 30, "bytes": 1000, "encode_seconds": 0.5, "decode_seconds": 0.25, "judge": "picodet",
        "judge_version": given.get("judge", "picodet"), "decides": True,
        "accuracy": given.pop("accuracy", None) or metric.Accuracy(ap75, ap75, ap75, ("person",), 9, reason=reason)}
    return ledger.Verdict(**{**usual, **given})


def sweep(rate: float, **given: Any) -> list[Any]:
    """Eight verdicts of one coder: accuracy rises with log rate; `rate` is that of the cheapest one, bytes a frame."""
    return [verdict(quality=30 + step, bytes=round(10 * rate * 1.3**step), ap75=0.5 + 0.06 * step, **given)
            for step in range(8)]
