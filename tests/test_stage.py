"""The stage contract: PyAV's verbs and errors, typed links, copied properties, checked options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest

from duoview.plugins.errors import LinkError, OptionError
from duoview.plugins.links import Link, LinkType, copy_properties
from duoview.plugins.options import option
from duoview.plugins.stage import Stage, stage_help, stage_summary


class Invert(Stage):
    """Invert the samples of 8-bit grey frames.

    Only for tests.
    """

    name = "test_invert"

    @dataclass(frozen=True)
    class Options:
        strength: float = option(1.0, min=0, max=1, help="share of the inverse")
        mode: str = option("plain", choices=("plain", "held"), help="plain: at once; held: one frame late", alias="m")
        fail_at: int = option(-1, help="pts at which to fail")

    def __init__(self, *positional: object, **named: object) -> None:
        super().__init__(*positional, **named)
        self.links: list[Link] = []
        self._held: list[av.VideoFrame] = []

    def configure(self, link: Link) -> Link:
        self.links.append(link)
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        if frame.pts == self.options.fail_at:
            raise ArithmeticError("asked to fail")
        samples = frame.to_ndarray()
        new = av.VideoFrame.from_ndarray(
            (samples + (255.0 - 2 * samples) * self.options.strength).astype(np.uint8), "gray"
        )
        self._held.append(copy_properties(frame, new))
        if self.options.mode == "plain" or len(self._held) > 1:
            yield self._held.pop(0)

    def drain(self) -> Iterable[av.VideoFrame]:
        yield from self._held
        self._held = []

    def reset(self) -> None:
        super().reset()
        self._held = []


def grey(pts: int, width: int = 8, height: int = 4, value: int = 10) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((height, width), value, np.uint8), "gray")
    frame.pts = pts
    frame.time_base = Fraction(1, 25)
    frame.duration = 1
    return frame


def native_null() -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add("buffer", video_size="8x4", pix_fmt="gray", time_base="1/25")
    graph.link_nodes(source, graph.add("null"), graph.add("buffersink")).configure()
    return graph


def outcome(call: object, *arguments: object) -> object:
    try:
        result = call(*arguments)  # type: ignore[operator]
    except av.error.FFmpegError as error:
        return type(error), error.errno
    return result.pts if isinstance(result, av.VideoFrame) else result


@pytest.mark.parametrize(
    "calls",
    [
        ["pull"],
        ["push", "pull", "pull"],
        ["push", "push", "pull", "pull", "pull"],
        ["end", "pull", "pull", "end", "pull"],
        ["push", "end", "pull", "pull", "push", "pull", "end", "pull"],
        ["push", "end", "end", "push", "pull", "pull"],
    ],
)
def test_a_stage_answers_each_call_as_a_native_graph_does(calls: list[str]) -> None:
    answers = []
    for flow in (Invert(), native_null()):
        frames = iter(grey(pts) for pts in range(10))
        answers.append(
            [
                outcome(flow.pull) if call == "pull" else outcome(flow.push, None if call == "end" else next(frames))
                for call in calls
            ]
        )
    assert answers[0] == answers[1]


def test_process_gives_every_frame_and_what_was_held() -> None:
    assert [frame.pts for frame in Invert(mode="held").process(grey(pts) for pts in range(4))] == [0, 1, 2, 3]


def test_pull_gives_outputs_as_early_as_possible() -> None:
    taken = []

    def source() -> Iterable[av.VideoFrame]:
        for pts in range(3):
            taken.append(pts)
            yield grey(pts)

    assert next(iter(Invert().process(source()))).pts == 0
    assert taken == [0]


def test_copy_properties_keeps_times_colour_and_opaque_but_not_the_picture_type() -> None:
    frame = grey(7)
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 1, 2, 1, 1
    frame.opaque = marker = object()
    frame.pict_type = 1
    (out,) = Invert().process([frame])
    assert (out.pts, out.time_base, out.duration, out.opaque) == (7, Fraction(1, 25), 1, marker)
    assert (out.colorspace, out.color_range, out.color_trc, out.color_primaries) == (1, 2, 1, 1)
    assert out.pict_type == 0


def test_the_input_frame_is_not_altered() -> None:
    frame = grey(3, value=99)
    list(Invert().process([frame]))
    assert (frame.to_ndarray() == 99).all() and frame.pts == 3


def test_a_size_change_configures_the_stage_again_and_keeps_what_is_held() -> None:
    stage = Invert(mode="held")
    out = list(stage.process([grey(0), grey(1), grey(2, width=16), grey(3, width=16)]))
    assert [(frame.pts, frame.width) for frame in out] == [(0, 8), (1, 8), (2, 16), (3, 16)]
    assert [link.width for link in stage.links] == [8, 16]


def test_the_rate_comes_from_the_duration_when_nobody_told_it() -> None:
    stage = Invert()
    list(stage.process([grey(0)]))
    assert stage.links[0].rate == 25 and stage.link is not None and stage.link.type is LinkType.VIDEO


def test_after_reset_a_drained_stage_works_again_and_has_forgotten() -> None:
    stage = Invert(mode="held")
    stage.push(grey(0))
    stage.push(None)
    stage.reset()
    assert [frame.pts for frame in stage.process([grey(5)])] == [5]


def test_an_error_of_the_stage_drops_that_item_only() -> None:
    stage = Invert(fail_at=1)
    for pts in range(3):
        stage.push(grey(pts))
    assert stage.pull().pts == 0
    with pytest.raises(ArithmeticError):
        stage.pull()
    assert stage.pull().pts == 2


def test_pushing_the_wrong_kind_names_the_stage_and_both_kinds() -> None:
    with pytest.raises(LinkError, match=r"test_invert: its input takes video frames \(av.VideoFrame\), not a Packet"):
        Invert().push(av.Packet(b"x"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 2.0}, "test_invert: strength=2.0: expected a number, 0 to 1"),
        ({"strength": "x"}, "test_invert: strength='x': expected a number, 0 to 1"),
        ({"fail_at": True}, "test_invert: fail_at=True: expected an integer"),
        ({"mode": "hold"}, "test_invert: mode='hold': expected one of plain, held; did you mean 'held'?"),
        (
            {"strenght": 1},
            "test_invert: no option 'strenght'; did you mean 'strength'?; it has: strength, mode, fail_at",
        ),
    ],
)
def test_an_option_error_names_stage_option_value_and_allowed_set(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Invert(**arguments)
    assert str(caught.value) == message


def test_options_are_taken_by_position_in_field_order_and_by_alias() -> None:
    assert Invert(0.5, "held").options == Invert(strength=0.5, m="held").options


def test_an_option_without_default_must_be_given() -> None:
    class Needy(Invert):
        """Needs a value."""

        name = "test_needy"

        @dataclass(frozen=True)
        class Options:
            model: str = option(help="path of the model")

    with pytest.raises(OptionError, match="test_needy: option 'model' must be given: path of the model"):
        Needy()


def test_the_help_text_is_generated_from_the_options() -> None:
    text = stage_help(Invert)
    assert stage_summary(Invert) == "Invert the samples of 8-bit grey frames."
    assert "strength       share of the inverse (a number, 0 to 1; default 1.0)" in text
    assert "mode, m        plain: at once; held: one frame late (one of plain, held; default plain)" in text


@pytest.mark.parametrize("pixel_format", ["gray", "yuv420p", "rgb24", "gbrp", "yuv422p10le"])
def test_copy_properties_keeps_opaque_alive_whichever_frame_is_freed_first(pixel_format: str) -> None:
    for first_freed in ("source", "target"):
        marker = ("detections", first_freed)
        source = grey(1, width=70, height=50)
        source.opaque = marker
        target = av.VideoFrame(38, 22, pixel_format)
        for index, plane in enumerate(target.planes):
            plane.update(bytes([index + 3]) * plane.buffer_size)
        frames = {"source": source, "target": copy_properties(source, target)}
        assert np.array_equal(frames["target"].to_ndarray(), target.to_ndarray())
        del source, target, frames[first_freed]
        (left,) = frames.values()
        assert left.opaque is marker


def test_a_change_that_a_stage_refuses_is_refused_for_every_frame_after_it() -> None:
    class Narrow(Invert):
        """Takes frames of 8 samples only."""

        def configure(self, link: Link) -> Link:
            if link.width != 8:
                raise ArithmeticError(f"{link.width}")
            return super().configure(link)

    stage = Narrow()
    for width in (8, 16, 16, 8):
        stage.push(grey(width, width=width))
    answers = []
    for _ in range(4):
        try:
            answers.append(stage.pull().width)
        except ArithmeticError as error:
            answers.append(str(error))
    assert answers == [8, "16", "16", 8]
