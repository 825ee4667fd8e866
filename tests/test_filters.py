"""dv_encode, dv_machine and dv_human as filters in a graph."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

import duoview
from duoview.errors import LimitError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_human import Human
from duoview.plugins.filters.dv_machine import Machine
from duoview.plugins.links import LinkType


def pictures(size: str = "64x48", seconds: float = 0.24) -> list[av.VideoFrame]:
    with av.open(f"testsrc=size={size}:rate=25:duration={seconds}", format="lavfi") as container:
        return list(container.decode(video=0))


def test_a_graph_encodes_and_decodes_with_native_filters_around() -> None:
    text = "scale=96:64,dv_encode=q=40:g=3,dv_machine,format=yuv420p"
    with duoview.Graph.parse(text, rate=Fraction(25)) as graph:
        assert (graph.input, graph.output) == (LinkType.VIDEO, LinkType.VIDEO)
        frames = list(graph.process(pictures()))
    assert [(f.pts, f.time_base, f.width, f.height, f.format.name) for f in frames] == [
        (index, Fraction(1, 25), 96, 64, "yuv420p") for index in range(6)
    ]


def test_encode_gives_one_packet_a_frame_with_its_time_and_key_flags() -> None:
    stage = Encode(q=20, gop=3)
    packets = list(stage.process(pictures()))
    assert [(p.pts, p.time_base, p.is_keyframe) for p in packets] == [
        (index, Fraction(1, 25), index % 3 == 0) for index in range(6)
    ]
    assert stage.link is not None
    assert (stage.link.type, stage.link.width, stage.link.height, stage.link.rate) == (
        LinkType.ACCESS_UNITS,
        64,
        48,
        Fraction(25),
    )


def test_encode_leaves_its_input_frames_as_they_were() -> None:
    frames = pictures()
    before = [frame.to_ndarray() for frame in frames]
    list(Encode().process(frames))
    assert all(np.array_equal(frame.to_ndarray(), samples) for frame, samples in zip(frames, before, strict=True))


@pytest.mark.parametrize("text", ["scale=.5", "latency=zero", "background=0", "bf=0"])
def test_options_of_the_inner_codec_are_refused_without_it(text: str) -> None:
    name = text.partition("=")[0]
    with pytest.raises(LimitError, match=f"dv_encode: {name}=.* belongs to machine=inner, not neural"):
        duoview.Graph.parse(f"dv_encode={text}")
    duoview.Graph.parse(f"dv_encode=machine=inner:{text}")


@pytest.mark.parametrize("text", ["simplify=off", r"roi='0\:0\:8\:8|8\:0\:8\:8\:-1'", "b=90000"])
@pytest.mark.parametrize("machine", ["neural", "inner"])
def test_what_guides_bits_belongs_to_both_codecs(machine: str, text: str) -> None:
    duoview.Graph.parse(f"dv_encode=machine={machine}:{text}")


def test_a_size_change_in_mid_stream_comes_out_as_a_size_change() -> None:
    second = pictures("48x80", 0.08)
    for frame in second:
        frame.pts = (frame.pts or 0) + 2
    graph = duoview.Graph.parse("dv_encode=q=10,dv_machine")
    out = list(graph.process([*pictures("64x48", 0.08), *second]))
    assert [(f.pts, f.width, f.height) for f in out] == [(0, 64, 48), (1, 64, 48), (2, 48, 80), (3, 48, 80)]


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "gray10le", "yuv420p10le", "nv12", "rgb24", "gbrp"],
)
def test_every_usual_pixel_format_and_an_odd_size_are_coded(pixel_format: str) -> None:
    frames = [frame.reformat(width=65, height=47, format=pixel_format) for frame in pictures(seconds=0.04)]
    (out,) = duoview.Graph.parse("dv_encode=q=40,dv_machine").process(frames)
    assert (out.width, out.height, out.format.name) == (65, 47, "gbrp")


def test_the_human_view_repeats_with_its_seed_and_tells_what_it_is() -> None:
    packets = list(Encode(q=30).process(pictures(seconds=0.08)))
    views = [list(Human(steps=2, seed=seed).process(packets)) for seed in (7, 7, 8)]
    assert np.array_equal(views[0][1].to_ndarray(), views[1][1].to_ndarray())
    assert not np.array_equal(views[0][1].to_ndarray(), views[2][1].to_ndarray())
    origin = views[0][0].opaque
    assert isinstance(origin, duoview.FrameOrigin) and origin.provenance is not None
    assert (origin.provenance.view, origin.provenance.steps, origin.provenance.seed) == ("human", 2, 7)


def test_after_a_reset_the_decoder_waits_for_a_key_unit() -> None:
    packets = list(Encode(q=20, gop=4).process(pictures()))
    stage = Machine()
    list(stage.process(packets[:2]))
    stage.reset()
    assert [frame.pts for frame in stage.process(packets[2:])] == [4, 5]
    assert stage.decoder is not None and stage.decoder.stats.skipped == 2


def test_stages_are_the_facades_stages() -> None:
    assert issubclass(Encode, duoview.Stage) and issubclass(Human, Machine)
