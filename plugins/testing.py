"""What every stage must do, as a test-suite for anybody's stage; and pictures to test one with.

With pytest, subclass `StageConformance` and give it a stage; each rule is a test of its own::

    from duoview.testing import StageConformance

    class TestSharpen(StageConformance):
        def make(self) -> Stage:
            return Sharpen(strength=0.5)

Without, `check_stage(Sharpen)` runs all of them. Nothing here needs pytest; a broken rule raises AssertionError.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Self

import av
import numpy as np

from duoview.detections import Detections
from duoview.encoder import Encoder
from duoview.errors import Error
from duoview.findings import FrameFindings

from .errors import LinkError
from .links import Item, LinkType
from .options import describe_options
from .stage import Stage, stage_help, stage_summary

Box = tuple[float, float, float, float]
#: Classes of the objects that `looked_at` puts into frames.
NAMES = ("person", "car", "face")


def picture(pts: int, width: int = 160, height: int = 96, *, pixel_format: str = "yuv420p", rate: int = 10,
            seed: int = 0) -> av.VideoFrame:
    """A frame of noise, in which every changed sample is seen. pts counts frames, of which `rate` make a second."""
    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(width, height, pixel_format)
    deep = frame.format.components[0].bits - 8  # samples of more than 8 bits take two bytes
    for plane in frame.planes:
        noise = rng.integers(16, 236, plane.buffer_size, np.uint8)
        if deep > 0:
            wide = rng.integers(16 << deep, 236 << deep, plane.buffer_size // 2)
            noise = wide.astype(">u2" if frame.format.is_big_endian else "<u2").view(np.uint8)
        plane.update(noise.tobytes())
    frame.pts, frame.time_base, frame.duration = pts, Fraction(1, rate), 1
    return frame


def looked_at(frame: av.VideoFrame, objects: Iterable[tuple[Box, int]], *, score: float = 0.9,
              ids: Sequence[int] | None = None, model: str = "test") -> av.VideoFrame:
    """The frame itself, with what a detector might have found: boxes in pixels, and of each the index of its name.

    ids: track ids, where a tracker is to have looked too.
    """
    given = list(objects)
    found = Detections(np.array([box for box, _ in given], np.float32).reshape(-1, 4),
                       np.full(len(given), score, np.float32), np.array([kind for _, kind in given], np.int32), NAMES,
                       model, frame.width, frame.height, None if ids is None else np.array(ids, np.int64))
    frame.opaque = FrameFindings.over(frame.opaque, found)
    return frame


class Marker:
    """An object of the caller's in ``frame.opaque``; it must come out again."""


class StageConformance:
    """The rules of the stage contract; a subclass says which stage, and what it does by design.

    make: a new stage; called often. one_to_one: every item gives exactly one, at its own pts; False for stages that
    drop, add or retime frames. keeps_size: frames come out in the size in which they went in. keeps_opaque: what a
    frame carries comes out with it; False for stages whose outputs are not frames of the input. pixel_formats: some
    that the stage takes; the first is used throughout. count: items that most rules push, 3 or more. A rule that cannot
    apply, as one on colours to a stage that gives access units, holds.
    """

    count = 8
    one_to_one = True
    keeps_size = True
    keeps_opaque = True
    pixel_formats: tuple[str, ...] = ("yuv420p", "nv12", "gray", "rgb24", "yuv422p10le")
    _takes_frames: bool | None = None

    def make(self) -> Stage:
        """The stage to be tested."""
        raise NotImplementedError("a StageConformance needs make(), which gives the stage")

    def items(self, count: int | None = None, *, width: int = 96, height: int = 64, start: int = 0,
              pixel_format: str | None = None, time_base: Fraction = Fraction(1, 90000)) -> list[Any]:
        """What is pushed into the stage: frames with detections and tracks, or access units of such frames."""
        frames = []
        for index in range(start, start + (self.count if count is None else count)):
            frame = picture(index, width, height, pixel_format=pixel_format or self.pixel_formats[0], seed=index)
            frame.time_base, frame.pts, frame.duration = time_base, 7 + index * 3000, 3000
            looked_at(frame, [((10.0 + index, 8.0, 40.0 + index, 50.0), 0)], ids=[1])
            frames.append(frame)
        if self.takes_frames():
            return frames
        encoder = Encoder(width, height, rate=Fraction(30), gop=4, q=10)
        return [packet for frame in (*frames, None) for packet in encoder.encode(frame)]

    # Calls: the verbs and errors of PyAV.

    def test_pull_wants_input_first_and_ends_for_ever(self) -> None:
        """Without input BlockingIOError; after the end EOFError, every time, and for another item too."""
        with self.stage() as stage:
            _expect(av.error.BlockingIOError, stage.pull, "pull() before any input")
            stage.push(None)
            for _ in range(2):
                _expect(av.error.EOFError, stage.pull, "pull() of an empty stream after push(None)")
            stage.push(None)
            _expect(av.error.EOFError, lambda: stage.push(self.items(1)[0]), "push(item) after push(None)")

    def test_after_the_last_output_comes_the_end(self) -> None:
        """A drained stage raises EOFError, not BlockingIOError, and goes on to do so."""
        with self.stage() as stage:
            for item in self.items():
                stage.push(item)
            stage.push(None)
            for _ in stage.ready():
                pass
            for _ in range(2):
                _expect(av.error.EOFError, stage.pull, "pull() after the last output")

    def test_an_item_of_the_wrong_kind_is_refused(self) -> None:
        """A packet is no frame, and the other way round: LinkError."""
        with self.stage() as stage:
            wrong: Any = av.Packet(b"x") if stage.input is LinkType.VIDEO else picture(0)
            _expect(LinkError, lambda: stage.push(wrong), f"push() of a {type(wrong).__name__}")

    def test_outputs_are_of_the_kind_that_is_announced(self) -> None:
        """`output` says what comes out."""
        with self.stage() as stage:
            kind = av.VideoFrame if stage.output is LinkType.VIDEO else av.Packet
            for out in stage.process(self.items()):
                _hold(isinstance(out, kind), f"an output is a {type(out).__name__}; {stage.output.value} are announced")

    # Times.

    def test_times_are_the_inputs_own(self) -> None:
        """pts, time base and duration come out as they went in, once each and in order."""
        with self.stage() as stage:
            items = self.items()
            outs = list(stage.process(items))
            if self.one_to_one:
                _same([out.pts for out in outs], [item.pts for item in items], "pts")
                _same([out.duration for out in outs], [item.duration for item in items], "durations")
                _same([out.time_base for out in outs], [item.time_base for item in items], "time bases")
            _hold(all(out.time_base for out in outs), "an output has no time base")
            times = [out.pts * out.time_base for out in outs if out.pts is not None]
            _hold(len(times) == len(outs), "an output has no pts")
            if stage.output is LinkType.VIDEO:
                _hold(all(a < b for a, b in itertools.pairwise(times)), f"times do not rise: {times}")

    def test_a_time_base_may_change_in_mid_stream(self) -> None:
        """Nothing but the frames says what their times count."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO:
                return
            second = self.items(4, start=4, time_base=Fraction(1, 180000))
            for item in second:
                item.pts, item.duration = item.pts * 2, item.duration * 2
            items = [*self.items(4), *second]
            outs = list(stage.process(items))
            if self.one_to_one:
                _same([out.pts * out.time_base for out in outs], [item.pts * item.time_base for item in items], "times")

    # What frames carry.

    def test_colour_fields_are_kept(self) -> None:
        """Matrix, range, transfer and primaries say what the samples mean; a stage that changes none keeps them."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO or stage.output is not LinkType.VIDEO:
                return
            items = self.items()
            for item in items:
                item.colorspace, item.color_range, item.color_trc, item.color_primaries = 1, 1, 1, 1
            for out in stage.process(items):
                found = tuple(int(value) for value in (out.colorspace, out.color_range, out.color_trc,
                                                       out.color_primaries))
                if not out.format.is_rgb:
                    _same(found, (1, 1, 1, 1), "colour fields")

    def test_opaque_comes_out_and_outlives_the_input(self) -> None:
        """The caller's own object in frame.opaque stays with its frame, whichever frame is freed first."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO or stage.output is not LinkType.VIDEO or not self.keeps_opaque:
                return
            markers = {}
            for item in self.items():
                findings = item.opaque
                assert isinstance(findings, FrameFindings)
                markers[item.pts] = marker = Marker()
                item.opaque = dataclasses.replace(findings, carried=marker)
                stage.push(item)
                del item, findings
            stage.push(None)
            outs = list(stage.ready())
            gc.collect()
            for out in outs:
                carried = out.opaque.carried if isinstance(out.opaque, FrameFindings) else out.opaque
                if self.one_to_one:
                    _hold(carried is markers[out.pts], f"opaque of pts {out.pts} is {carried!r}, not the input's")
                else:
                    _hold(carried in markers.values(), f"opaque of pts {out.pts} is {carried!r}, of no input")

    def test_the_picture_type_does_not_leak(self) -> None:
        """Left on a frame it would dictate the next encoder's choice: pict_type is cleared."""
        with self.stage() as stage:
            items = self.items()
            for item in items:
                if isinstance(item, av.VideoFrame):
                    item.pict_type = 1
            for out in stage.process(items):
                _hold(not isinstance(out, av.VideoFrame) or out.pict_type == 0, "an output frame has a picture type")

    def test_inputs_are_not_altered(self) -> None:
        """Samples, times and opaque of what was pushed are what they were, before and after all is drained."""
        with self.stage() as stage:
            items = self.items()
            before = [_state(item) for item in items]
            list(stage.process(items))
            for item, state in zip(items, before, strict=True):
                _same(_state(item), state, f"the input of pts {item.pts}")

    # Size and format.

    def test_the_size_may_change_with_any_frame(self) -> None:
        """Larger, smaller and odd sizes in mid-stream: handled, or refused by an error that is duoview's own."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO:
                return
            items = [frame for number, size in enumerate(((96, 64), (128, 96), (33, 17), (96, 64)))
                     for frame in self.items(2, width=size[0], height=size[1], start=2 * number)]
            outs = self.run_or_refuse(stage, items)
            if outs is not None and self.one_to_one and self.keeps_size and stage.output is LinkType.VIDEO:
                _same([(out.width, out.height) for out in outs], [(item.width, item.height) for item in items], "sizes")

    def test_the_pixel_format_may_change_with_any_frame(self) -> None:
        """All formats that the stage takes, one after the other."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO:
                return
            items = [frame for number, name in enumerate(self.pixel_formats)
                     for frame in self.items(2, start=2 * number, pixel_format=name)]
            outs = list(stage.process(items))
            if self.one_to_one:
                _same([out.pts for out in outs], [item.pts for item in items], "pts")

    def test_another_format_is_refused_by_name_or_taken(self) -> None:
        """A format that the stage cannot take is an error of duoview's, not a crash and not a wrong picture."""
        with self.stage() as stage:
            if stage.input is LinkType.VIDEO:
                self.run_or_refuse(stage, self.items(1, pixel_format="yuyv422"))

    # Order, state and memory.

    def test_pulling_late_gives_what_pulling_early_gives(self) -> None:
        """How often the caller pulls changes nothing but when outputs come."""
        with self.stage() as early, self.stage() as late:
            first = [_content(out) for out in early.process(self.items())]
            for item in self.items():
                late.push(item)
            late.push(None)
            _same([_content(out) for out in late.ready()], first, "the outputs")

    def test_reset_forgets_everything(self) -> None:
        """After a reset, in mid-stream or at the end, a stage does what a new one does."""
        with self.stage() as stage, self.stage() as new:
            fresh = [_content(out) for out in new.process(self.items())]
            for item in self.items(5, start=40):
                stage.push(item)
                for _ in stage.ready():
                    pass
            stage.reset()
            _same([_content(out) for out in stage.process(self.items())], fresh, "outputs after a reset in mid-stream")
            stage.reset()
            _same([_content(out) for out in stage.process(self.items())], fresh, "outputs after a reset at the end")

    def test_stages_share_no_state(self) -> None:
        """Two stages of a kind side by side give what each gives alone."""
        with self.stage() as left, self.stage() as right, self.stage() as alone:
            first = [_content(out) for out in alone.process(self.items())]
            found: tuple[list[Any], list[Any]] = ([], [])
            for one, other in zip(self.items(), self.items(start=20), strict=True):
                left.push(one)
                right.push(other)
                for stage, outs in zip((left, right), found, strict=True):
                    outs += [_content(out) for out in stage.ready()]
            left.push(None)
            found[0].extend(_content(out) for out in left.ready())
            _same(found[0], first, "the outputs beside another stage")

    def test_no_thread_is_left_running(self) -> None:
        """All work happens in the caller's thread, inside of pull; what is seen here are Python's threads."""
        before = set(threading.enumerate())
        with self.stage() as stage:
            for item in self.items():
                stage.push(item)
                for _ in stage.ready():
                    pass
                started = set(threading.enumerate()) - before
                _hold(not started, f"threads were started: {', '.join(thread.name for thread in started)}")

    def test_nothing_of_the_frames_is_kept_after_a_reset(self) -> None:
        """What frames carry is let go of."""
        with self.stage() as stage:
            if stage.input is not LinkType.VIDEO:
                return
            marker = Marker()
            count = sys.getrefcount(marker)
            self.feed_and_forget(stage, marker)
            stage.reset()
            gc.collect()
            _same(sys.getrefcount(marker), count, "references to an object that frames carried")

    def test_closing_twice_is_allowed(self) -> None:
        """Also before anything was pushed."""
        stage = self.make()
        stage.close()
        stage.close()

    # Help.

    def test_options_are_frozen_and_explained(self) -> None:
        """Options is a frozen dataclass; every field has a help text, and the stage a one-line summary."""
        kind = type(self.make())
        _hold(bool(stage_summary(kind)), f"{kind.__name__} has no docstring; its first line is the help")
        _hold(kind.Options.__dataclass_params__.frozen, f"{kind.__name__}.Options is not frozen")  # type: ignore[attr-defined]
        for item in describe_options(kind.Options):
            _hold(bool(item.limits.help), f"option {item.name!r} has no help text")
        _hold(kind.name in stage_help(kind), "the help does not name the stage")

    # What the rules are made of.

    def stage(self) -> Stage:
        """A new stage, closed at the end of a with block; one with several inputs gets each item at all of them."""
        made = self.make()
        return made if len(made.input_types) == 1 else _AllInputs(made)

    def takes_frames(self) -> bool:
        """Whether the stage's input is video frames; asked of one stage only, as making one may take its time."""
        if self._takes_frames is None:
            with self.stage() as stage:
                self._takes_frames = stage.input is LinkType.VIDEO
        return self._takes_frames

    def run_or_refuse(self, stage: Stage, items: Sequence[Item]) -> list[Any] | None:
        """The outputs, or None where the stage refuses the items by one of duoview's errors."""
        try:
            return list(stage.process(items))
        except Error:
            return None

    def feed_and_forget(self, stage: Stage, marker: Marker) -> None:
        """Push frames that carry an object, pull what comes, and keep neither."""
        for item in self.items():
            item.opaque = dataclasses.replace(FrameFindings.of(item.opaque), carried=marker)
            stage.push(item)
            for _ in stage.ready():
                pass

    @classmethod
    def rules(cls) -> Iterator[str]:
        """The names of all rules."""
        return (name for name in dir(cls) if name.startswith("test_"))


def check_stage(make: Callable[[], Stage], **traits: Any) -> None:
    """Run all rules on a stage. Raises AssertionError that names the rule that it breaks.

    make: gives a new stage. traits: what `StageConformance` has, ``one_to_one=False`` for instance.
    """
    suite = _Suite.of(make, traits)
    for rule in StageConformance.rules():
        try:
            getattr(suite, rule)()
        except AssertionError as error:
            raise AssertionError(f"{rule.removeprefix('test_').replace('_', ' ')}: {error}") from error


class _AllInputs(Stage):
    """A stage with several inputs that gets the same at all of them."""

    name = "all_inputs"

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.input, self.output, self.label = stage.input, stage.output, stage.label

    def push(self, item: Item | None) -> None:
        for pad in range(len(self.stage.input_types)):
            self.stage.feed(item, pad)

    def poll(self, pad: int) -> Any:
        return self.stage.poll(pad)

    def filter(self, item: Any) -> Iterable[Any]:
        raise NotImplementedError("polled of the stage itself")

    def reset(self) -> None:
        self.stage.reset()

    def close(self) -> None:
        self.stage.close()


class _Suite(StageConformance):
    """The rules for a stage that a function makes."""

    _make: Callable[[], Stage]

    @classmethod
    def of(cls, make: Callable[[], Stage], traits: dict[str, Any]) -> Self:
        suite = cls()
        suite._make = make
        for name, value in traits.items():
            if not hasattr(StageConformance, name):
                raise TypeError(f"check_stage: no trait {name!r}")
            setattr(suite, name, value)
        return suite

    def make(self) -> Stage:
        return self._make()


def _expect(error: type[BaseException], call: Callable[[], object], what: str) -> None:
    try:
        found = call()
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what}: expected {error.__name__}, it raised {type(other).__name__}: {other}") from other
    raise AssertionError(f"{what}: expected {error.__name__}, it gave {found!r}")


def _hold(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _same(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {_shown(expected)}, found {_shown(found)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "..."


def _state(item: Any) -> tuple[object, ...]:
    """All that a caller can see of an item."""
    times = item.pts, item.dts, item.time_base, item.duration, item.opaque
    if not isinstance(item, av.VideoFrame):
        return (*times, bytes(item), item.is_keyframe)
    return (*times, item.width, item.height, item.format.name, item.pict_type, int(item.colorspace),
            int(item.color_range), *(bytes(plane) for plane in item.planes))


def _content(out: Any) -> tuple[object, ...]:
    """What an output is, without what may differ by chance: padding of lines."""
    if not isinstance(out, av.VideoFrame):
        return out.pts, out.duration, bytes(out)
    return out.pts, out.duration, out.width, out.height, out.format.name, out.opaque, out.to_ndarray().tobytes()
