"""Linear filtergraphs: native filters give what libavfilter's own parser gives, and mix with stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duoview.plugins.graph import Graph
from duoview.plugins.links import copy_properties
from duoview.plugins.options import option
from duoview.plugins.stage import Stage

SOURCE = "testsrc=size=64x48:rate=25:duration=0.8"


class Shift(Stage):
    """Add a number to every sample of grey frames."""

    name = "test_shift"

    @dataclass(frozen=True)
    class Options:
        by: int = option(1, min=-255, max=255, help="the number")
        note: str = option("", help="any text")

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        new = av.VideoFrame.from_ndarray(frame.to_ndarray() + np.uint8(self.options.by % 256), "gray")
        yield copy_properties(frame, new)


def lavfi(text: str) -> list[av.VideoFrame]:
    with av.open(text, format="lavfi") as container:
        return list(container.decode(video=0))


def assert_same(got: list[av.VideoFrame], want: list[av.VideoFrame]) -> None:
    assert [(f.pts, f.time_base, f.width, f.height, f.format.name) for f in got] == [
        (f.pts, f.time_base, f.width, f.height, f.format.name) for f in want
    ]
    for left, right in zip(got, want, strict=True):
        assert np.array_equal(left.to_ndarray(), right.to_ndarray())


@pytest.mark.parametrize(
    "chain",
    [
        "null",
        "fps=10,scale=32:-2",
        " fps = 10 ,\n scale=32:24:flags=bilinear , hflip",
        "scale=w=32:h=24,",
        "drawbox=x=2:y=2:w=10:h=10:color=red@0.5",
        "crop='if(gt(iw,10),20,10)':10",
        "crop=min(20\\,iw):10",
        "crop=w='min(20,iw)':h=10,vflip@second",
        "select='not(mod(n,3))',setpts=N/TB/5",
        "null@one,negate@two=enable='between(t,0.2,0.5)'",
        "fps=fps=50",
        "tblend=all_mode=average",
        "minterpolate=fps=30:mi_mode=blend",
        "format=yuv420p|gray,scale=16:16",
        "fps=5:round=up",
    ],
)
def test_native_chains_give_the_frames_and_times_of_libavfilters_own_parser(chain: str) -> None:
    got = list(Graph.parse(chain, rate=Fraction(25)).process(lavfi(SOURCE)))
    assert_same(got, lavfi(f"{SOURCE},{chain}"))


# fmt: off
PIECES = st.lists(
    st.sampled_from([
        "null", "null,", "hflip", "scale", "scale=8:8", "crop=w='min(8,iw)'", "flags=bilinear", "=", ":", ",", "'",
        "\\", "\\,", " ", "\n", "w=", "h=8", "8", "iw/2", "@a", "min(8", ")",
    ]),
    min_size=1,
    max_size=7,
).map("".join)
# fmt: on


@settings(max_examples=250, deadline=None, derandomize=True)
@given(PIECES)
def test_any_text_is_accepted_or_refused_as_libavfilter_does(text: str) -> None:
    source = "color=size=16x16:rate=2:duration=1"
    text = f"null,{text}"
    try:
        want = lavfi(f"{source},{text}")
    except (av.error.FFmpegError, ValueError):
        with pytest.raises((ValueError, LookupError, TypeError)):
            list(Graph.parse(text, rate=Fraction(2)).process(lavfi(source)))
        return
    assert_same(list(Graph.parse(text, rate=Fraction(2)).process(lavfi(source))), want)


def test_stages_and_native_filters_mix_and_opaque_survives_all_of_them() -> None:
    frames = lavfi(SOURCE)
    for index, frame in enumerate(frames):
        frame.opaque = ("marker", index)
    text = "fps=10,format=gray,test_shift=by=3,hflip,test_shift@b=-3,vflip"
    out = list(Graph.parse(text, stages={"test_shift": Shift}, rate=Fraction(25)).process(frames))
    assert_same(out, lavfi(f"{SOURCE},fps=10,format=gray,hflip,vflip"))
    assert all(frame.opaque[0] == "marker" for frame in out)


def test_options_of_a_stage_go_through_both_levels_of_quoting() -> None:
    graph = Graph.parse(r"test_shift=note='a,b\:c;[d]':by=2", stages={"test_shift": Shift})
    (stage,) = graph.flows
    assert isinstance(stage, Shift) and stage.options == Shift.Options(by=2, note="a,b:c;[d]")


@pytest.mark.parametrize(
    "chain", ["null", "fps=10", "scale=20:20", "tblend=all_mode=average", "format=gray,test_shift"]
)
def test_a_size_or_format_change_in_mid_stream_gives_each_part_as_it_would_be_alone(chain: str) -> None:
    first = lavfi("testsrc=size=32x24:rate=25:duration=0.4")
    second = lavfi("testsrc=size=24x32:rate=25:duration=0.4,format=yuv444p")
    for frame in second:
        frame.pts = (frame.pts or 0) + 10
    alone = [f for part in (first, second) for f in Graph.parse(chain, stages={"test_shift": Shift}).process(part)]
    assert_same(list(Graph.parse(chain, stages={"test_shift": Shift}).process(first + second)), alone)
    assert len(alone) >= 8


def test_the_graph_answers_as_a_native_graph_does_when_empty_and_when_drained() -> None:
    graph = Graph.parse("null,hflip")
    with pytest.raises(av.error.BlockingIOError):
        graph.pull()
    frame = lavfi(SOURCE)[0]
    graph.push(frame)
    assert graph.pull().pts == frame.pts
    graph.push(None)
    graph.push(None)
    for _ in range(2):
        with pytest.raises(av.error.EOFError):
            graph.pull()
    with pytest.raises(av.error.EOFError):
        graph.push(frame)


def test_after_reset_a_graph_takes_frames_again() -> None:
    graph = Graph.parse("fps=10")
    frames = lavfi(SOURCE)
    first = [frame.pts for frame in graph.process(frames)]
    graph.reset()
    assert [frame.pts for frame in graph.process(frames)] == first


def test_the_link_tells_size_time_base_and_rate_of_the_output() -> None:
    graph = Graph.parse("fps=5,scale=32:24,format=gray", rate=Fraction(25))
    list(graph.process(lavfi(SOURCE)))
    assert graph.link is not None
    assert (graph.link.width, graph.link.height, graph.link.format) == (32, 24, "gray")
    assert (graph.link.time_base, graph.link.rate) == (Fraction(1, 5), Fraction(5))


def test_frames_pushed_in_are_not_altered_by_drawing_filters() -> None:
    frames = lavfi(SOURCE)
    before = [frame.to_ndarray() for frame in frames]
    list(Graph.parse("drawbox=x=0:y=0:w=64:h=48:color=white:t=fill").process(frames))
    assert all(np.array_equal(frame.to_ndarray(), samples) for frame, samples in zip(frames, before, strict=True))


@pytest.mark.parametrize(
    "chain", ["trim=end_frame=6", "trim=end_frame=6,test_shift=by=1", "trim=start_frame=2:end_frame=8"]
)
def test_a_filter_that_ends_the_stream_by_itself_ends_it_once(chain: str) -> None:
    frames = lavfi(SOURCE + ",format=gray")
    assert len(frames) == 20
    assert len(list(Graph.parse(chain, stages={"test_shift": Shift}).process(frames))) == 6


def test_after_a_reset_a_filter_that_ended_the_stream_starts_again() -> None:
    graph = Graph.parse("trim=end_frame=3")
    for _ in range(2):
        assert len(list(graph.process(lavfi(SOURCE)))) == 3
        graph.reset()
