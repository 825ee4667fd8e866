"""The conformance suite: our stages keep its rules, and every rule is broken by a stage that it names."""

from __future__ import annotations

import importlib
import runpy
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from duoview.plugins.errors import LinkError
from duoview.plugins.filters.dv_detect import Detect
from duoview.plugins.filters.dv_draw import Draw
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_machine import Machine
from duoview.plugins.filters.dv_mask import Mask
from duoview.plugins.filters.dv_roi import Roi
from duoview.plugins.filters.dv_track import Track
from duoview.plugins.filters.dv_trigger import Trigger
from duoview.plugins.graph import Graph
from duoview.plugins.links import LinkType, copy_properties
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.registry import find_stage
from duoview.plugins.stage import Stage
from duoview.testing import StageConformance, check_stage

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(FILES.looking_detector(tmp_path_factory.mktemp("detector") / "look.onnx"))


class TestTrack(StageConformance):
    def make(self) -> Stage:
        return Track()


class TestDraw(StageConformance):
    def make(self) -> Stage:
        return Draw(zones="gate=0.1 0.1 0.6 0.1 0.3 0.8", lines="fence=0 0.5 1 0.5")


@pytest.mark.parametrize("make", [
    lambda: Mask(classes="person", zones="0 0 0.2 0.2"), lambda: Mask(classes="*", mode="pixelate"),
    lambda: Mask(classes="*", mode="blur", zones="0 0 0.5 0.1 0.2 0.9"),
    lambda: Roi(classes="person", regions="0 0 0.2 0.2", outside=0.1), lambda: Roi(regions="0 0 1 0.3 0.4 1"),
    lambda: Trigger(on="present"), lambda: Trigger(on="dwell", zones="0 0 1 1", seconds=0.05),
    lambda: Trigger(on="cross", lines="0 0.5 1 0.5"), lambda: Trigger(on="motion"), lambda: Track(agnostic=True),
])
def test_our_stages_keep_all_rules(make: Callable[[], Stage]) -> None:
    check_stage(make)


def test_a_stage_that_passes_some_frames_only_keeps_them_too() -> None:
    check_stage(lambda: Trigger(on="cross", lines="0.25 0 0.25 1", emit="events", pre=0.1, post=0.1), one_to_one=False)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_detector_keeps_all_rules(detector: str, batch: int) -> None:
    check_stage(lambda: Detect(detector, batch=batch))


def test_the_encoder_and_the_decoder_keep_all_rules() -> None:
    check_stage(lambda: Encode(q=10, threads=1), count=3)
    check_stage(lambda: Machine(threads=1), count=3)


class Plain(Stage):
    """Give every frame as it is."""

    name = "test_plain"

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.references = References()
        self.held: list[Any] = []

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        yield self.references.reference(frame)

    def reset(self) -> None:
        super().reset()
        self.references.reset()
        self.held = []


class Endless(Plain):
    def pull(self) -> Any:
        try:
            return super().pull()
        except av.error.EOFError:
            raise av.error.BlockingIOError(11, "again") from None


class Greedy(Plain):
    def push(self, item: Any) -> None:
        if item is None or isinstance(item, av.VideoFrame):
            super().push(item)


class Late(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        for out in super().filter(frame):
            out.pts += 1
            yield out


class Longer(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        for out in super().filter(frame):
            out.duration = 1
            yield out


class Colourless(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        for out in super().filter(frame):
            out.colorspace = 2
            yield out


class Forgetful(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        out = av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name)
        opaque, frame.opaque = frame.opaque, None
        yield copy_properties(frame, out)
        frame.opaque = opaque


class Dictating(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        for out in super().filter(frame):
            out.pict_type = 1
            yield out


class Scribbling(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        np.frombuffer(memoryview(frame.planes[0]), np.uint8)[:5] = 0
        yield from super().filter(frame)


class Shrinking(Plain):
    size: tuple[int, int] | None = None

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        self.size = self.size or (frame.width, frame.height)
        for out in super().filter(frame):
            yield copy_properties(frame, out.reformat(*self.size)) if (out.width, out.height) != self.size else out


class Narrow(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        if frame.format.name != "yuv420p":
            raise ArithmeticError("unexpected")
        yield from super().filter(frame)


class Impatient(Plain):
    """Gives what it has when it is asked, in another order when it is asked late."""

    def push(self, item: Any) -> None:
        super().push(item)
        if item is None and len(self._waiting) > 1:
            self._waiting.pop()


class Remembering(Plain):
    """Counts frames, also those before a reset."""

    count = 0

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        self.count += 1
        for out in super().filter(frame):
            if self.count <= 8:
                yield out


class Shared(Plain):
    counts: list[int] = []  # noqa: RUF012  of all such stages: that is what is wrong with it

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        self.counts.append(frame.pts or 0)
        for out in super().filter(frame):
            if self.counts[-1] >= max(self.counts[-8:]):
                yield out


class Threaded(Plain):
    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        if not self.held:
            self.held = [threading.Event()]
            threading.Thread(target=self.held[0].wait, args=(5,), daemon=True, name="hidden").start()
        yield from super().filter(frame)


class Hoarding(Plain):
    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.hoard: list[Any] = []

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        self.hoard.append(frame)
        yield from super().filter(frame)


class Fragile(Plain):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class Unexplained(Plain):
    @dataclass(frozen=True)
    class Options:
        strength: int = option(3, help="")


class Liquid(Plain):
    @dataclass
    class Options:
        strength: int = option(3, help="how strong")


class Announcing(Plain):
    output = LinkType.ACCESS_UNITS


def test_a_stage_that_does_nothing_wrong_passes() -> None:
    check_stage(Plain)


BROKEN: list[tuple[type[Stage], str, str]] = [
    (Endless, "test_pull_wants_input_first_and_ends_for_ever", "an empty stream.*: expected EOFError, it raised Block"),
    (Endless, "test_after_the_last_output_comes_the_end", "after the last output: expected EOFError, it raised Block"),
    (Greedy, "test_an_item_of_the_wrong_kind_is_refused", "push.. of a Packet: expected LinkError, it gave None"),
    (Announcing, "test_outputs_are_of_the_kind_that_is_announced", "an output is a VideoFrame; access units are"),
    (Late, "test_times_are_the_inputs_own", "pts: expected .7, 3007, .*, found .8, 3008,"),
    (Late, "test_a_time_base_may_change_in_mid_stream", "times: expected"),
    (Longer, "test_times_are_the_inputs_own", "durations: expected .3000, .*, found .1,"),
    (Colourless, "test_colour_fields_are_kept", "colour fields: expected .1, 1, 1, 1., found .2, 1, 1, 1."),
    (Forgetful, "test_opaque_comes_out_and_outlives_the_input", "opaque of pts 7 is None, not the input's"),
    (Dictating, "test_the_picture_type_does_not_leak", "an output frame has a picture type"),
    (Scribbling, "test_inputs_are_not_altered", "the input of pts 7: expected"),
    (Shrinking, "test_the_size_may_change_with_any_frame", "sizes: expected"),
    (Impatient, "test_pulling_late_gives_what_pulling_early_gives", "the outputs: expected"),
    (Remembering, "test_reset_forgets_everything", "outputs after a reset in mid-stream: expected"),
    (Shared, "test_stages_share_no_state", "the outputs beside another stage: expected"),
    (Threaded, "test_no_thread_is_left_running", "threads were started: hidden"),
    (Hoarding, "test_nothing_of_the_frames_is_kept_after_a_reset", "references to an object that frames carried"),
    (Unexplained, "test_options_are_frozen_and_explained", "option 'strength' has no help text"),
    (Liquid, "test_options_are_frozen_and_explained", "Liquid.Options is not frozen"),
]


@pytest.mark.parametrize(("stage", "rule", "message"), BROKEN)
def test_a_stage_that_breaks_a_rule_fails_its_test(stage: type[Stage], rule: str, message: str) -> None:
    class Suite(StageConformance):
        def make(self) -> Stage:
            return stage()

    Shared.counts.clear()
    with pytest.raises(AssertionError, match=message):
        getattr(Suite(), rule)()


def test_every_rule_can_fail() -> None:
    # These three raise what the stage raises; the next test sees to them.
    errors = {"test_closing_twice_is_allowed", "test_the_pixel_format_may_change_with_any_frame",
              "test_another_format_is_refused_by_name_or_taken"}
    assert {rule for _, rule, _ in BROKEN} | errors == set(StageConformance.rules())


@pytest.mark.parametrize(("stage", "rule", "error"), [
    (Narrow, "test_another_format_is_refused_by_name_or_taken", ArithmeticError),
    (Narrow, "test_the_pixel_format_may_change_with_any_frame", ArithmeticError),
    (Fragile, "test_closing_twice_is_allowed", RuntimeError),
])
def test_an_error_that_is_not_duoviews_own_comes_through(stage: type[Stage], rule: str, error: type[Exception]) -> None:
    class Suite(StageConformance):
        def make(self) -> Stage:
            return stage()

    with pytest.raises(error):
        getattr(Suite(), rule)()


def test_check_stage_names_the_rule_that_is_broken() -> None:
    with pytest.raises(AssertionError, match=r"^the picture type does not leak: an output frame has a picture type$"):
        check_stage(Dictating)


def test_a_trait_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="check_stage: no trait 'one_two_one'"):
        check_stage(Plain, one_two_one=False)


PACKAGE = '''
"""A stage of somebody else."""

from dataclasses import dataclass

import numpy as np

from duoview import Stage
from duoview.plugins.options import option
from duoview.plugins.references import References


class Brighten(Stage):
    """Raise the luma of 8-bit planar frames."""

    name = "acme_brighten"

    @dataclass(frozen=True)
    class Options:
        """Options of acme_brighten."""

        by: int = option(10, min=0, max=255, help="grey levels to add")

    def __init__(self, *positional, **named):
        super().__init__(*positional, **named)
        self.references = References()

    def filter(self, frame):
        new = self.references.copy(frame)
        luma = np.frombuffer(new.planes[0], np.uint8)
        luma[:] = np.minimum(luma, 255 - self.options.by) + self.options.by
        yield new

    def reset(self):
        super().reset()
        self.references.reset()
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "acme_brighten.py").write_text(PACKAGE)
    info = tmp_path / "acme_brighten-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-brighten\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[duoview.stages]\nacme_brighten = acme_brighten:Brighten\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("acme_brighten", None)


def test_a_stage_of_an_installed_package_can_be_named_in_a_graph_and_checked(installed: None) -> None:
    stage = find_stage("acme_brighten")
    assert stage is not None
    check_stage(lambda: stage(by=20), pixel_formats=("yuv420p", "gray"))
    frame = av.VideoFrame.from_ndarray(np.full((16, 16), 100, np.uint8), "gray")
    frame.pts = 0
    (out,) = Graph.parse("null,acme_brighten=by=7").process([frame])
    assert (out.to_ndarray() == 107).all()


def test_a_frame_is_no_access_unit_in_the_suite_either() -> None:
    with pytest.raises(LinkError):
        Machine(threads=1).push(av.VideoFrame(16, 16, "gray"))
