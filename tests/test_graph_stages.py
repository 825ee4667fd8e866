"""Stages between native filters in graphs with branches: nothing changes but what the stages do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duoview
from duoview.plugins.errors import OptionError, QueueFullError
from duoview.plugins.filters.dv_detect import Detect
from duoview.plugins.graph import Graph
from duoview.plugins.links import Link, LinkType, copy_properties
from duoview.plugins.native import NativeFilters
from duoview.plugins.options import option
from duoview.plugins.partition import native_runs
from duoview.plugins.stage import Stage
from duoview.plugins.wiring import PadLink, order_of

SOURCE = "testsrc=size=32x24:rate=10:duration=1,format=gray"


class Pass(Stage):
    """Pass frames on, some late."""

    name = "test_pass"
    timeline = True

    @dataclass(frozen=True)
    class Options:
        hold: int = option(0, min=0, max=50, help="frames that it holds back")

    def __init__(self, *positional: object, **named: object) -> None:
        super().__init__(*positional, **named)
        self.held: list[av.VideoFrame] = []
        self.links: list[Link] = []

    def configure(self, link: Link) -> Link:
        self.links.append(link)
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        self.held.append(frame)
        if len(self.held) > self.options.hold:
            yield self.held.pop(0)

    def drain(self) -> Iterable[av.VideoFrame]:
        yield from self.held
        self.held = []


class Negative(Stage):
    """Negate grey frames."""

    name = "test_negative"
    timeline = True

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        yield copy_properties(frame, av.VideoFrame.from_ndarray(255 - frame.to_ndarray(), "gray"))


class Counter(Stage):
    """Count frames."""

    name = "test_count"
    seen = 0

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        type(self).seen += 1
        yield frame


STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Pass, Negative, Counter)}


def lavfi(text: str) -> list[av.VideoFrame]:
    with av.open(text, format="lavfi") as container:
        return list(container.decode(video=0))


def facts(frames: Iterable[av.VideoFrame]) -> list[tuple[object, ...]]:
    return [(f.pts, f.time_base, f.format.name, f.width, f.to_ndarray().tobytes()) for f in frames]


def kinds(graph: Graph) -> list[str]:
    return ["native" if isinstance(flow, NativeFilters) else flow.label for flow in graph.flows]


@pytest.mark.parametrize("stage", ["test_pass", "test_pass=hold=3"])
@pytest.mark.parametrize(
    "text",
    [
        "hflip,@,vflip",
        "@,@",
        "split[a][b];[a]@[c];[c][b]hstack",
        "split[a][b];[a]@[c];[b][c]overlay=x=4:format=yuv420,format=yuv420p",
        "split[a][b];[a]@,hflip,@[c];[b]@[d];[c][d]hstack,@",
        "split[a][b];[b]@,hflip[c];[a][c]vstack,split[d][e];[d]@[f];[f][e]hstack",
        "split=3[a][b][c];[a]@[x];[b]vflip[y];[c]@[z];[x][y][z]hstack=3",
        "split[a][b];[a]select='not(mod(n,2))',@[c];[b][c]interleave",
        "split[a][b];[a]trim=end_frame=4,@[c];[b]trim=start_frame=4,@[d];[c][d]concat",
        "split[a][b];[a]@[c];color=white:s=32x24:r=10:d=1,format=gray[w];[c][w]vstack[d];[d]crop=32:24[e];[b][e]hstack",
        "@,tile=2x1",
        "fps=25,@,fps=5",
        "split[a][b];[b]@,nullsink;[a]hflip",
    ],
)
def test_a_stage_that_passes_frames_on_changes_nothing_wherever_it_stands(text: str, stage: str) -> None:
    want = facts(lavfi(f"{SOURCE},{text.replace('@', 'null')}"))
    with Graph.parse(text.replace("@", stage), stages=STAGES, rate=Fraction(10)) as graph:
        assert facts(graph.process(lavfi(SOURCE))) == want
    with Graph.parse(f"{SOURCE},{text.replace('@', stage)}", stages=STAGES) as graph:
        assert facts(graph) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("null,hflip,vflip", ["native"]),
        ("null,test_pass,hflip,vflip", ["native", "test_pass", "native"]),
        ("split[a][b];[a]hflip[c];[c][b]hstack", ["native"]),
        ("split[a][b];[a]test_pass[c];[c][b]hstack", ["native", "test_pass", "native"]),
        ("test_pass[a];color,hflip[b];[a][b]overlay", ["test_pass", "native"]),
        ("color[b];test_pass[a];[a][b]overlay", ["test_pass", "native"]),
        ("split[a][b];[a]test_pass[c];[b]test_pass[d];[c][d]hstack", ["native", "test_pass", "test_pass", "native"]),
        ("hflip[a];test_pass[b];vflip[c];[a][b][c]hstack=3", ["test_pass", "native"]),
        ("test_pass,hflip[a];test_pass,test_pass[b];[a][b]hstack", ["test_pass"] * 3 + ["native"]),
        ("split[a][b];test_pass[c];[a][c]hstack", ["native", "test_pass", "native"]),
    ],
)
def test_native_filters_are_put_together_as_far_as_they_can_be(text: str, want: list[str]) -> None:
    graph = Graph.parse(text, stages=STAGES)
    assert sorted(kinds(graph)) == sorted(want)


@st.composite
def dags(draw: st.DrawFn) -> tuple[list[bool], list[PadLink]]:
    native = draw(st.lists(st.booleans(), min_size=1, max_size=10))
    pairs = [(left, right) for right in range(len(native)) for left in range(right)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=14)) if pairs else []
    shuffle = draw(st.permutations(range(len(native))))
    return native, [PadLink(shuffle[left], 0, shuffle[right], number) for number, (left, right) in enumerate(chosen)]


@given(dags(), st.integers(0, 1023))
def test_no_path_leaves_a_run_and_comes_back_into_it(graph: tuple[list[bool], list[PadLink]], seed: int) -> None:
    native, links = graph
    opened = [bool(seed >> index & 1) for index in range(len(native))]
    groups = native_runs(native, links, opened)
    assert sorted(index for group in groups for index in group) == list(range(len(native)))
    assert all(len(group) == 1 or all(native[index] for index in group) for group in groups)
    place = {index: number for number, group in enumerate(groups) for index in group}
    # Groups in an order in which each link leads on: then no path comes back.
    assert all(place[link.source] <= place[link.target] for link in links)
    assert all(group == sorted(group) for group in groups)


@given(dags())
def test_filters_without_stages_between_them_are_one_run(graph: tuple[list[bool], list[PadLink]]) -> None:
    native, links = graph
    groups = native_runs([True] * len(native), links, [False] * len(native))
    joined = {index: index for index in range(len(native))}
    for link in links:
        old, new = joined[link.source], joined[link.target]
        joined = {index: new if root == old else root for index, root in joined.items()}
    assert len(groups) == len(set(joined.values()))
    assert order_of(len(native), links)[0] in range(len(native))


def test_opaque_reaches_every_branch() -> None:
    frames = lavfi(SOURCE)
    for frame in frames:
        frame.opaque = ("marker", frame.pts)
    with Graph.parse("split[a][b];[a]test_pass,hflip[x];[b]test_pass[y]", stages=STAGES) as graph:
        out = list(graph.run(frames))
    assert len(out) == 20 and all(frame.opaque == ("marker", frame.pts) for _, frame in out)


def test_a_stage_before_a_null_sink_works_on_every_frame() -> None:
    Counter.seen = 0
    with Graph.parse("split[a][b];[a]test_count,nullsink;[b]select='not(mod(n,5))'", stages=STAGES) as graph:
        assert len(list(graph.process(lavfi(SOURCE)))) == 2
    assert Counter.seen == 10


def test_an_endless_source_is_not_driven_on_while_another_input_waits() -> None:
    text = "[0:v]test_pass[x];testsrc=size=32x24:rate=10,format=gray,test_pass[y];[x][y]hstack"
    with Graph.parse(text, stages=STAGES, queue=2) as graph:
        for frame in lavfi(SOURCE):
            graph.push(frame)
            assert len(list(graph.ready())) <= 1
        graph.push(None)
        assert len(list(itertools.islice(graph.ready(), 3))) >= 0


def test_a_branch_that_holds_back_more_than_the_limit_is_named() -> None:
    text = "split[a][b];[a]test_pass=hold=9[c];[c][b]hstack"
    with Graph.parse(text, stages=STAGES, queue=10) as graph:
        assert len(list(graph.process(lavfi(SOURCE)))) == 10
    with Graph.parse(text, stages=STAGES, queue=4) as graph, pytest.raises(QueueFullError) as caught:
        list(graph.process(lavfi(SOURCE)))
    assert "hstack was fed 4 items on the link from split to hstack" in str(caught.value)
    assert "nothing comes on the link from test_pass to hstack" in str(caught.value)


def test_closing_a_graph_drops_what_waits_in_it() -> None:
    with Graph.parse("split[a][b];[a]test_pass[x];[b]test_pass[y]", stages=STAGES) as graph:
        frames = lavfi(SOURCE)[:3]
        for frame in frames:
            graph.push(frame)
        graph.pull("x")
    with pytest.raises(av.error.EOFError):
        graph.pull("y")


def test_a_branch_that_ends_early_does_not_stop_or_fill_the_others() -> None:
    text = "split[a][b];[a]test_pass,trim=end_frame=2[x];[b]test_pass[y]"
    with Graph.parse(text, stages=STAGES, queue=4) as graph:
        out = [name for name, _ in graph.run(lavfi(SOURCE))]
    assert (out.count("x"), out.count("y")) == (2, 10)


@pytest.mark.parametrize("when", ["gte(t,0.3)", "between(n,2,5)", "mod(n,2)", "lt(w,16)", "gt(h,16)*lte(t,0.5)", "1"])
@pytest.mark.parametrize("hold", [0, 4])
def test_enable_lets_a_stage_work_when_a_native_filter_would(when: str, hold: int) -> None:
    want = facts(lavfi(f"{SOURCE},negate=enable='{when}'"))
    text = f"test_negative=enable='{when}',test_pass=hold={hold}:enable='{when}'"
    with Graph.parse(text, stages=STAGES, rate=Fraction(10)) as graph:
        assert facts(graph.process(lavfi(SOURCE))) == want


def test_enable_counts_frames_again_after_a_reset() -> None:
    with Graph.parse("test_negative=enable='eq(n,0)'", stages=STAGES) as graph:
        frames = lavfi(SOURCE)[:2]
        first = facts(graph.process(frames))
        graph.reset()
        assert facts(graph.process(frames)) == first
        assert first[0][-1] != frames[0].to_ndarray().tobytes() and first[1][-1] == frames[1].to_ndarray().tobytes()


def test_an_enable_expression_that_cannot_be_read_is_named_with_its_column() -> None:
    with pytest.raises(OptionError, match=r"^test_pass \(column 11\): enable='foo\(t\)': .*foo"):
        Graph.parse("test_pass=enable='foo(t)'", stages=STAGES)


def test_dv_detect_takes_part_in_the_timeline() -> None:
    assert Detect.timeline


def test_links_between_runs_and_stages_carry_rate_size_and_time_base() -> None:
    text = "fps=5,split[a][b];[a]scale=16:12,test_pass[c];[b]scale=16:12[d];[c][d]hstack"
    with Graph.parse(text, stages=STAGES) as graph:
        list(graph.process(lavfi(SOURCE)))
        (stage,) = (flow for flow in graph.flows if isinstance(flow, Pass))
    assert [(link.width, link.height, link.time_base, link.rate) for link in stage.links] == [
        (16, 12, Fraction(1, 5), Fraction(5))
    ]


def test_units_and_pictures_leave_one_graph_beside_each_other() -> None:
    text = "[0:v]split[a][b];[a]dv_encode=q=30[u];[b]hflip[p]"
    with duoview.Graph.parse(text, rate=Fraction(10)) as graph:
        assert [(pad.name, pad.type) for pad in graph.outputs] == [
            ("u", LinkType.ACCESS_UNITS),
            ("p", LinkType.VIDEO),
        ]
        out = list(graph.run(lavfi("testsrc=size=64x48:rate=10:duration=0.4")))
    assert [type(item) for name, item in out if name == "u"] == [av.Packet] * 4
    assert [item.pts for name, item in out if name == "p"] == [0, 1, 2, 3]


def test_the_machine_view_is_compared_with_the_picture_in_one_graph() -> None:
    quality = []
    for q in (5, 63):
        text = f"format=gbrp,split[a][b];[a]dv_encode=q={q},dv_machine[m];[m][b]psnr"
        with duoview.Graph.parse(text, rate=Fraction(10)) as graph:
            frames = list(graph.process(lavfi("testsrc=size=64x48:rate=10:duration=0.4")))
        assert len(frames) == 4
        quality.append(min(float(frame.metadata["lavfi.psnr.psnr_avg"]) for frame in frames))
    assert quality[1] > quality[0] + 2


def total(frames: Sequence[av.VideoFrame]) -> int:
    return sum(int(frame.to_ndarray().astype(np.int64).sum()) for frame in frames)


def test_frames_that_several_branches_read_are_not_altered() -> None:
    frames = lavfi(SOURCE)
    before = total(frames)
    text = "split[a][b];[a]drawbox=color=white:t=fill,format=gray,test_negative[x];[b]test_pass[y]"
    with Graph.parse(text, stages=STAGES) as graph:
        out = list(graph.run(frames))
    assert total(frames) == before == total([frame for name, frame in out if name == "y"])


class Fail(Stage):
    """Fail at the frame with pts 2."""

    name = "test_fail"

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        if frame.pts == 2:
            raise RuntimeError("pts 2")
        yield frame


@pytest.mark.parametrize("text", ["split[a][b];[a]@,nullsink;[b]null[x]", "[b]@,nullsink;[b]null[x]"])
def test_an_error_on_the_way_to_a_null_sink_costs_other_outputs_no_frame(text: str) -> None:
    got: list[object] = []
    with Graph.parse(text.replace("@", "test_fail"), stages={"test_fail": Fail}) as graph:
        for frame in lavfi("testsrc=size=32x24:rate=10:duration=0.5"):
            graph.push(frame)
        graph.push(None)
        with pytest.raises(av.error.EOFError):
            while True:
                try:
                    got.append(graph.pull().pts)
                except RuntimeError as error:
                    got.append(str(error))
    assert got == [0, 1, "pts 2", 2, 3, 4]


def test_a_branch_of_an_endless_source_may_end_before_the_other() -> None:
    text = "testsrc=s=16x16:r=10,split[a][b];[a]test_pass,trim=end_frame=3[x];[b]null[y]"
    with Graph.parse(text, stages=STAGES) as graph:
        out = [(name, frame.pts) for name, frame in itertools.islice(graph.run({}), 30)]
    assert [pts for name, pts in out if name == "x"] == [0, 1, 2]
    assert [pts for name, pts in out if name == "y"] == list(range(27))


@pytest.mark.parametrize("hold", [0, 2])
@pytest.mark.parametrize("widths", [[8, 16, 24, 32], [8, 16, 8, 16], [8, 8, 16, 16]])
def test_branches_whose_frames_change_size_meet_with_their_own(widths: list[int], hold: int) -> None:
    frames = [av.VideoFrame(width, 8, "gray") for width in widths]
    for pts, frame in enumerate(frames):
        frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 10), 1
    with Graph.parse(f"split[a][b];[a]test_pass=hold={hold}[c];[c][b]vstack", stages=STAGES) as graph:
        assert [(frame.pts, frame.width) for frame in graph.process(frames)] == list(enumerate(widths))


@pytest.mark.parametrize("text", ["crop=12:8", "split[a][b];[a]test_pass,crop=12:8[x];[b]nullsink"])
def test_a_frame_that_a_run_refuses_costs_that_frame_alone(text: str) -> None:
    got: list[object] = []
    with Graph.parse(text, stages=STAGES) as graph:
        for pts, width in enumerate([8, 16, 16, 8, 16]):
            frame = av.VideoFrame(width, 8, "gray")
            frame.pts, frame.time_base = pts, Fraction(1, 10)
            graph.push(frame)
        graph.push(None)
        for _ in range(5):
            try:
                got.append(graph.pull().pts)
            except OptionError:
                got.append("refused")
        with pytest.raises(av.error.EOFError):
            graph.pull()
    assert got == ["refused", 1, 2, "refused", 4]
