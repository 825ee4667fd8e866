"""Graphs with several inputs and outputs: named pads, the order of work, own sources, audio, what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from duoview.plugins.errors import LinkError, OptionError, QueueFullError
from duoview.plugins.graph import Graph
from duoview.plugins.links import LinkType
from duoview.plugins.wiring import unique_names


def lavfi(text: str) -> list[av.VideoFrame]:
    with av.open(text, format="lavfi") as container:
        return list(container.decode(video=0))


def grey(pts: int, value: int = 0, size: tuple[int, int] = (8, 8)) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full(size[::-1], value, np.uint8), "gray")
    frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 10), 1
    return frame


def values(frame: av.VideoFrame) -> list[int]:
    return sorted({int(value) for value in frame.to_ndarray().ravel()})


def test_pads_are_named_by_their_labels_and_typed() -> None:
    graph = Graph.parse("[0:v][0:a]concat=n=1:v=1:a=1[picture][sound]")
    assert [(pad.name, pad.type) for pad in graph.inputs] == [("0:v", LinkType.VIDEO), ("0:a", LinkType.AUDIO)]
    assert [(pad.name, pad.type) for pad in graph.outputs] == [("picture", LinkType.VIDEO), ("sound", LinkType.AUDIO)]


def test_unlabelled_ends_are_called_in_and_out_and_others_by_filter_and_pad() -> None:
    assert [[pad.name for pad in pads] for pads in (Graph.parse("null").inputs, Graph.parse("null").outputs)] == [
        ["in"],
        ["out"],
    ]
    graph = Graph.parse("split,split@x=3;split")
    assert [pad.name for pad in graph.inputs] == ["in", "split#2:0"]
    assert [pad.name for pad in graph.outputs] == [
        "split:1", "split@x:0", "split@x:1", "split@x:2", "split#2:0", "split#2:1",
    ]  # fmt: skip


def test_two_inputs_are_pushed_by_name_in_any_order() -> None:
    with Graph.parse("[a][b]hstack") as graph:
        for pts in range(3):
            graph.push(grey(pts, 1), "a")
        with pytest.raises(av.error.BlockingIOError):
            graph.pull()
        for pts in range(3):
            graph.push(grey(pts, 2), "b")
        got = [frame.to_ndarray()[0].tolist() for frame in graph.ready()]
        graph.push(None)
        got += [frame.to_ndarray()[0].tolist() for frame in graph.ready()]
    assert got == [[1] * 8 + [2] * 8] * 3


def test_one_label_read_twice_is_one_input() -> None:
    with Graph.parse("[0:v]hflip[a];[0:v][a]vstack") as graph:
        assert [pad.name for pad in graph.inputs] == ["0:v"]
        (out,) = graph.process([grey(0, 7)])
    assert (out.width, out.height) == (8, 16)


def test_outputs_are_pulled_by_name_and_each_ends_by_itself() -> None:
    with Graph.parse("split[a][b];[a]trim=end_frame=1[short];[b]negate[long]") as graph:
        for pts in range(3):
            graph.push(grey(pts))
        assert [frame.pts for frame in (graph.pull("long"), graph.pull("short"), graph.pull("long"))] == [0, 0, 1]
        with pytest.raises(av.error.EOFError):
            graph.pull("short")
        assert graph.pull("long").pts == 2
        with pytest.raises(av.error.BlockingIOError):
            graph.pull("long")
        graph.push(None)
        with pytest.raises(av.error.EOFError):
            graph.pull("long")


def test_run_feeds_the_input_that_lags_and_pulls_the_output_that_lags() -> None:
    order: list[tuple[str, int]] = []

    def counted(name: str, every: int) -> Iterator[av.VideoFrame]:
        for pts in range(0, 12, every):
            order.append((name, pts))
            yield grey(pts)

    with Graph.parse("[a]null[x];[b]null[y]") as graph:
        out = [(name, frame.pts) for name, frame in graph.run({"a": counted("a", 1), "b": counted("b", 4)})]
    assert [pts for name, pts in out if name == "x"] == list(range(12))
    assert [pts for name, pts in out if name == "y"] == [0, 4, 8]
    last = {"a": -1, "b": -1}
    for name, pts in order[: order.index(("b", 8))]:
        assert last[name] == min(last.values())
        last[name] = pts


def test_a_graph_with_its_own_source_is_iterated() -> None:
    with Graph.parse("testsrc=s=16x16:r=5:d=1,hflip") as graph:
        assert [frame.pts for frame in graph] == [0, 1, 2, 3, 4]


def test_an_endless_source_is_made_only_as_far_as_it_is_pulled() -> None:
    with Graph.parse("testsrc=s=16x16:r=5[a];[a]split[x][y]") as graph:
        assert [graph.pull("x").pts for _ in range(5)] == [0, 1, 2, 3, 4]
        assert [graph.pull("y").pts for _ in range(5)] == [0, 1, 2, 3, 4]


def test_after_reset_a_graph_with_a_source_begins_again() -> None:
    text = "[in]split[a][b];color=white:s=8x8:r=10,format=gray[w];[a][w]vstack=shortest=1[x];[b]null[y]"
    with Graph.parse(text) as graph:
        for _ in range(2):
            out = [(name, frame.pts) for name, frame in graph.run([grey(pts) for pts in range(3)])]
            assert sorted(out) == [(name, pts) for name in "xy" for pts in range(3)]
            graph.reset()


def test_audio_goes_through_audio_filters() -> None:
    with av.open("sine=d=0.2:r=8000", format="lavfi") as container:
        sound = list(container.decode(audio=0))
    with Graph.parse("volume=0.5,aformat=s16:channel_layouts=stereo") as graph:
        out = list(graph.process(sound))
        assert graph.link is not None
        assert (graph.link.type, graph.link.sample_rate, graph.link.layout) == (LinkType.AUDIO, 8000, "stereo")
    assert sum(frame.samples for frame in out) == sum(frame.samples for frame in sound) == 1600
    # pan law aside, each side has the sound at half its height
    peak = max(int(np.abs(frame.to_ndarray()).max()) for frame in sound)
    assert abs(max(int(np.abs(frame.to_ndarray()).max()) for frame in out) - peak / 2 ** 1.5) < peak / 50


@pytest.mark.parametrize("text", ["[a]scale=8:8[s];[s][b]hstack", "[a]scale=8:8[s];[b][s]hstack"])
def test_a_size_change_on_one_input_gives_each_part_as_it_would_be_alone(text: str) -> None:
    items = {"a": [grey(pts, 1, (8, 8)) for pts in range(3)], "b": [grey(pts, 9) for pts in range(6)]}
    items["a"] += [grey(pts, 2, (16, 16)) for pts in range(3, 6)]
    with Graph.parse(text) as graph:
        out = [(frame.pts, values(frame)) for _, frame in graph.run(items)]
    assert out == [(pts, [1, 9]) for pts in range(3)] + [(pts, [2, 9]) for pts in range(3, 6)]


def test_an_output_that_had_ended_stays_ended_after_a_size_change() -> None:
    frames = [grey(pts) for pts in range(4)] + [grey(pts, size=(16, 16)) for pts in range(4, 8)]
    with Graph.parse("split[a][b];[a]trim=end_frame=2[short];[b]null[long]") as graph:
        out = [(name, frame.pts) for name, frame in graph.run(frames)]
    assert [pts for name, pts in out if name == "short"] == [0, 1]
    assert [pts for name, pts in out if name == "long"] == list(range(8))


def test_a_time_base_that_counts_microseconds_is_no_rate() -> None:
    frames = [grey(0), grey(1)]
    for frame in frames:
        frame.duration = 0
    with Graph.parse("settb=1/1000000") as graph:
        list(graph.process(frames))
        assert graph.link is not None and graph.link.rate is None


def test_a_size_change_beside_a_source_is_refused_since_the_source_would_begin_again() -> None:
    frames = [grey(0), grey(1, size=(16, 16))]
    with Graph.parse("color=s=8x8:r=10[c];[in][c]overlay") as graph:
        graph.push(frames[0])
        graph.push(frames[1])
        with pytest.raises(LinkError, match=r"color,overlay \(column 1\).*from 8x8 gray to 16x16 gray.*own sources"):
            list(graph.ready())


def test_an_input_that_ends_without_a_frame_does_not_stop_the_others() -> None:
    with Graph.parse("[a][b]overlay=eof_action=pass") as graph:
        out = [frame.pts for _, frame in graph.run({"a": [grey(pts) for pts in range(3)], "b": []})]
    assert out == [0, 1, 2]


def test_graphs_that_get_nothing_give_nothing() -> None:
    with Graph.parse("[a][b]hstack,split[x][y]") as graph:
        assert list(graph.run({"a": [], "b": []})) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda graph: graph.push(grey(0)), ["2 inputs (left, right)", "name one"]),
        (lambda graph: graph.pull(), ["2 outputs (sum, rest)", "name one"]),
        (lambda graph: graph.push(grey(0), "rigth"), ["no input 'rigth'", "did you mean 'right'"]),
        (lambda graph: graph.pull("summ"), ["no output 'summ'", "did you mean 'sum'"]),
        (lambda graph: graph.pull(2), ["no output 2", "sum, rest"]),
        (lambda graph: graph.push(av.Packet(b"x"), "left"), ["input left takes video frames", "not a Packet"]),
        (lambda graph: graph.run({"left": []}), ["no items for input right"]),
        (lambda graph: graph.run([]), ["2 inputs"]),
        (lambda graph: iter(graph), ["has inputs (left, right)", "process(items)"]),
        (lambda graph: graph.input, ["2 inputs"]),
        (lambda graph: graph.output, ["2 outputs"]),
    ],
)
def test_a_wrong_pad_is_named_with_those_that_there_are(
    call: Callable[[Graph], object], words: list[str]
) -> None:
    with Graph.parse("[left][right]hstack,split[sum][rest]") as graph, pytest.raises(LinkError) as caught:
        call(graph)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_after_its_end_an_input_takes_nothing_but_another_end() -> None:
    with Graph.parse("[a][b]hstack") as graph:
        graph.push(None, "a")
        graph.push(None, "a")
        with pytest.raises(av.error.EOFError):
            graph.push(grey(0), "a")
        graph.push(grey(0), "b")


def test_an_output_that_nobody_pulls_stops_the_graph_with_its_name() -> None:
    with Graph.parse("split[seen][forgotten]", queue=5) as graph:
        with pytest.raises(QueueFullError, match=r"on output forgotten.*limit of 5; pull it too"):
            for pts in range(20):
                graph.push(grey(pts))
                graph.pull("seen")
        assert [graph.pull("forgotten").pts for _ in range(6)] == list(range(6))
        assert isinstance(QueueFullError("x"), BufferError)


def test_what_waits_at_other_outputs_is_bounded_while_one_gives_nothing() -> None:
    with Graph.parse("split[a][b];[a]select=0[never];[b]null[always]", queue=5) as graph:
        for pts in range(20):
            graph.push(grey(pts))
        with pytest.raises(QueueFullError, match="on output always"):
            graph.pull("never")


def test_an_input_that_gets_nothing_stops_the_graph_with_its_name() -> None:
    with Graph.parse("[fed][hungry]hstack", queue=5) as graph:
        graph.push(grey(0), "fed")
        graph.push(grey(0), "hungry")
        assert graph.pull().pts == 0
        with pytest.raises(QueueFullError, match=r"5 items on fed.*nothing comes on hungry; push items there"):
            for pts in range(1, 20):
                graph.push(grey(pts), "fed")
                list(graph.ready())


def test_an_input_may_come_long_after_another_where_the_filter_wants_them_so() -> None:
    got = []
    with Graph.parse("[a][b]concat", queue=5) as graph:
        graph.push(grey(0, 2), "b")  # its size must be known
        for pts in range(20):
            graph.push(grey(pts, 1), "a")
            got += [values(frame) for frame in graph.ready()]
        graph.push(None, "a")
        for pts in range(1, 20):
            graph.push(grey(pts, 2), "b")
            got += [values(frame) for frame in graph.ready()]
        graph.push(None, "b")
        got += [values(frame) for frame in graph.ready()]
    assert got == [[1]] * 20 + [[2]] * 20


def test_a_limit_below_one_item_is_refused() -> None:
    with pytest.raises(OptionError, match="queue=0: expected at least 1 item"):
        Graph.parse("null", queue=0)


def test_time_bases_rates_and_sizes_of_each_output_are_told() -> None:
    with Graph.parse("split[a][b];[a]fps=5,scale=4:4[x];[b]null[y]", rate=Fraction(10)) as graph:
        list(graph.run([grey(pts) for pts in range(10)]))
        links = {name: graph.link_at(name) for name in "xy"}
    assert links["x"] is not None and links["y"] is not None
    assert (links["x"].width, links["x"].time_base, links["x"].rate) == (4, Fraction(1, 5), Fraction(5))
    assert (links["y"].width, links["y"].time_base, links["y"].rate) == (8, Fraction(1, 10), Fraction(10))


def test_an_endless_source_does_not_keep_run_from_feeding_the_inputs() -> None:
    with Graph.parse("[in]null[x];testsrc=s=16x16:r=10[y]") as graph:
        out = itertools.islice(graph.run([grey(pts) for pts in range(5)]), 12)
        assert [frame.pts for name, frame in out if name == "x"] == [0, 1, 2, 3, 4]


def test_a_closed_graph_has_ended_until_it_is_reset() -> None:
    with Graph.parse("testsrc=s=16x16:r=5:d=1,hflip") as graph:
        got = []
        for frame in graph:
            got.append(frame.pts)
            if frame.pts == 2:
                graph.close()
        assert got == [0, 1, 2]
        graph.reset()
        assert [frame.pts for frame in graph] == [0, 1, 2, 3, 4]
    with Graph.parse("split[a][b]") as graph:
        graph.close()
        with pytest.raises(av.error.EOFError):
            graph.push(grey(0))
        with pytest.raises(av.error.EOFError):
            graph.pull("a")


def test_a_new_time_base_is_told_of_every_output_with_its_first_frame() -> None:
    frames = [grey(pts) for pts in (0, 1, 2, 6, 8, 10)]
    for frame in frames[3:]:
        frame.time_base = Fraction(1, 20)
    with Graph.parse("split[a][b];[a]reverse[x];[b]null[y]") as graph:
        told = []
        for name, frame in graph.run(frames):
            link = graph.link_at(name)
            assert link is not None and link.time_base == frame.time_base
            told.append((name, link.time_base))
    for name in "xy":
        assert [base for which, base in told if which == name] == [Fraction(1, 10)] * 3 + [Fraction(1, 20)] * 3


def test_an_input_without_label_is_not_joined_with_a_label_that_is_its_name() -> None:
    with pytest.raises(LinkError, match=r"the label \[overlay:1\] of null \(column 12\).*overlay \(column 23\)"):
        Graph.parse("[overlay:1]null[x];[a]overlay[y]")
    with pytest.raises(LinkError, match=r"the label \[split:1\] of hflip \(column 15\).*split \(column 1\)"):
        Graph.parse("split[a];[a]  hflip[split:1]")


def test_filters_of_one_label_get_names_that_no_other_has() -> None:
    assert unique_names(["a", "a", "a"]) == ("a", "a#2", "a#3")
    assert unique_names(["a", "a", "a#2"]) == ("a", "a#3", "a#2")
