"""Pictures to look at: a frame of the source, of ours and of a peer at equal bytes, with what a judge sees in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
from PIL import Image

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec
from bench.accuracy.comparison import Verdicts, best_peer, compare
from bench.accuracy.judge import Judge, SourceFindings
from bench.accuracy.ledger import Verdict
from bench.accuracy.metric import METRICS


@dataclass(frozen=True)
class Shot:
    """A picture with its caption; jpeg: the file."""

    caption: str
    jpeg: bytes


def shots(clip: Clip, codecs: Sequence[Codec], verdicts: Verdicts, judge: Judge[Any], findings: SourceFindings, *,
          anchor: str, rate: float) -> list[Shot]:
    """The frame in which the judge sees most in the source: source, ours, and the peer nearest to ours in bytes.

    ours: the first of our coders, or else the first of all, at its point nearest to `rate` bytes a frame. The peer is
    the best one for this clip where that can be told, else the first one there is.
    """
    source = findings.of(clip, judge)
    counts = [judge.count(item) for item in source]
    number = counts.index(max(counts))
    found = [Shot(f"source, frame {number}: {judge.caption(source[number])} by {judge.name}",
                  drawn(clip.frames[number], source[number], judge))]
    pair = _pair(verdicts, clip.name, anchor, judge.headline)
    for codec in (codec for label in pair for codec in codecs if codec.label == label):
        point = _nearest(verdicts.of(clip.name, codec.label, judge.name), rate)
        rate = point.bytes_per_frame  # the second one is looked for at the first one's bytes
        frame = codec.code(clip, point.quality).frames[number]
        (seen,) = judge.look([frame], clip.only(number))
        value, title = point.accuracy.value(judge.headline), METRICS[judge.headline].title
        caption = f"{codec.label} at {point.quality}: {rate:.0f} bytes a frame, {judge.caption(seen)}"
        found.append(Shot(caption + (f"; {title} of the clip {value:.3f}" if value is not None else ""),
                          drawn(frame, seen, judge)))
    return found


def drawn(frame: av.VideoFrame, finding: Any, judge: Judge[Any]) -> bytes:
    """A frame as JPEG, with what a judge saw in it."""
    file = io.BytesIO()
    judge.drawn(Image.fromarray(frame.to_ndarray(format="rgb24")), finding).save(file, "JPEG", quality=88)
    return file.getvalue()


def _pair(verdicts: Verdicts, clip: str, anchor: str, metric: str) -> list[str]:
    """Labels of ours and of the peer to be seen beside it."""
    ours = next((codec for codec in verdicts.codecs if verdicts.codec(codec).ours), verdicts.codecs[0])
    others = [codec for codec in verdicts.codecs if not verdicts.codec(codec).ours and codec != ours]
    anchors = [entry.anchor for entry in compare(verdicts, anchor, metric)
               if (entry.clip, entry.codec, entry.role) == (clip, ours, "anchor")]
    if anchors:
        return [ours, best_peer(verdicts, clip, anchors[-1], metric)]
    return [ours, *others[:1]]


def _nearest(points: Sequence[Verdict], rate: float) -> Verdict:
    return min(points, key=lambda item: abs(item.bytes_per_frame - rate))
