"""Pictures to look at: a frame of the source, of ours and of a peer at equal bytes, with what a judge finds in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
from PIL import Image, ImageDraw

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec
from bench.accuracy.comparison import Verdicts, best_peer, compare
from bench.accuracy.judging import ABOVE, Judge, SourceFindings
from bench.accuracy.ledger import Verdict
from duoview.detections import Detections

COLOURS = ("#ffd400", "#00e5ff", "#ff5cf4", "#7dff5c")


@dataclass(frozen=True)
class Shot:
    """A picture with its caption; jpeg: the file."""

    caption: str
    jpeg: bytes


def shots(clip: Clip, codecs: Sequence[Codec], verdicts: Verdicts, judge: Judge, findings: SourceFindings, *,
          anchor: str, rate: float) -> list[Shot]:
    """The frame in which the judge finds most in the source: source, ours, and the peer nearest to ours in bytes.

    ours: the first of our coders, or else the first of all, at its point nearest to `rate` bytes a frame. The peer is
    the best one for this clip where that can be told, else the first one there is.
    """
    source = findings.of(clip, judge)
    strong = [len(item.above(ABOVE)) for item in source]
    number = strong.index(max(strong))
    found = [Shot(f"source, frame {number}: {strong[number]} objects above {ABOVE} by {judge.name}",
                  drawn(clip.frames[number], source[number]))]
    pair = _pair(verdicts, clip.name, anchor)
    for codec in (codec for label in pair for codec in codecs if codec.label == label):
        point = _nearest(verdicts.of(clip.name, codec.label, judge.name), rate)
        rate = point.bytes_per_frame  # the second one is looked for at the first one's bytes
        frame = codec.code(clip, point.quality).frames[number]
        (seen,) = judge.look([frame])
        value = point.accuracy.ap75
        caption = f"{codec.label} at {point.quality}: {rate:.0f} bytes a frame, {len(seen.above(ABOVE))} objects"
        found.append(Shot(caption + (f"; AP75 of the clip {value:.3f}" if value is not None else ""),
                          drawn(frame, seen)))
    return found


def drawn(frame: av.VideoFrame, detections: Detections) -> bytes:
    """A frame as JPEG, with boxes and scores of what is above the threshold."""
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    pen = ImageDraw.Draw(picture)
    for item in detections.above(ABOVE):
        colour = COLOURS[item.class_id % len(COLOURS)]
        pen.rectangle(item.box, outline=colour, width=2)
        pen.text((item.box[0] + 3, item.box[1] + 2), f"{item.name} {item.score:.2f}", fill=colour)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def _pair(verdicts: Verdicts, clip: str, anchor: str) -> list[str]:
    """Labels of ours and of the peer to be seen beside it."""
    ours = next((codec for codec in verdicts.codecs if verdicts.codec(codec).ours), verdicts.codecs[0])
    others = [codec for codec in verdicts.codecs if not verdicts.codec(codec).ours and codec != ours]
    anchors = [entry.anchor for entry in compare(verdicts, anchor)
               if (entry.clip, entry.codec, entry.role) == (clip, ours, "anchor")]
    if anchors:
        return [ours, best_peer(verdicts, clip, anchors[-1])]
    return [ours, *others[:1]]


def _nearest(points: Sequence[Verdict], rate: float) -> Verdict:
    return min(points, key=lambda item: abs(item.bytes_per_frame - rate))
