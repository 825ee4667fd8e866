"""What is wrong in a filtergraph text is named: filter, option, value, allowed set, nearest match, column."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import av
import pytest

from duoview.errors import Error
from duoview.plugins.errors import FilterNotFoundError, GraphSyntaxError, LinkError, OptionError
from duoview.plugins.graph import Graph
from duoview.plugins.native_filter import logged


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", GraphSyntaxError, ["column 1", "no filter"]),
        ("null,,hflip", GraphSyntaxError, ["column 6", "name is missing"]),
        ("null;;hflip", GraphSyntaxError, ["column 6", "name is missing"]),
        ("@left,null", GraphSyntaxError, ["column 1", "name is missing before '@left'"]),
        ("null, [a hflip", GraphSyntaxError, ["column 7", "'['", "'a hflip' is not closed"]),
        ("null [ ] hflip", GraphSyntaxError, ["column 6", "label", "empty"]),
        ("null [a] hflip", GraphSyntaxError, ["column 10", "expected ',' or ';' behind filter null", "'h'"]),
        ("crop=8:8],null", GraphSyntaxError, ["column 9", "expected ',' or ';'", "']'"]),
        ("sws_flags=bilinear, null", GraphSyntaxError, ["column 1", "sws_flags", "';'"]),
        ("sws_flags=bilinear:1;scale=8:8", OptionError, ["sws_flags (column 5)", "needs a name"]),
        ("sws_flags=smooth;scale=8:8", OptionError, ["scale", "smooth"]),
        ("scale=8:8\0:16", GraphSyntaxError, ["column 10", "'\\x00'", "leave it out"]),
        ("null@a\ud800", GraphSyntaxError, ["column 7", "'\\ud800'", "leave it out"]),
        ("null, scael=2", FilterNotFoundError, ["column 7", "'scael'", "did you mean 'scale'"]),
        ("dv_encoder=q=2", FilterNotFoundError, ["column 1", "'dv_encoder'", "did you mean 'dv_encode'"]),
        ("null,scale=foo=1", OptionError, ["scale (column 12)", "no option 'foo'"]),
        ("scale=w=8:8", OptionError, ["scale (column 11)", "'8'", "needs a name"]),
        ("drawbox=color=zork", OptionError, ["drawbox (column 9)", "color='zork'", "Cannot find color"]),
        ("scale=flagz=bilinear", OptionError, ["scale (column 7)", "no option 'flagz'", "did you mean 'flags'"]),
        ("scale=8:8:flgas=area", OptionError, ["scale (column 11)", "no option 'flgas'", "did you mean 'flags'"]),
        ("movie=nothing.mp4", OptionError, ["movie (column 7)", "'nothing.mp4'", "No such file"]),
        ("split[a][b][c]", LinkError, ["split (column 1)", "2 outputs", "[c] (column 12)"]),
        ("[a][b]hflip", LinkError, ["hflip (column 7)", "1 input", "[b] (column 4)"]),
        ("testsrc,null,[x]nullsrc", LinkError, ["nullsrc (column 17)", "no inputs", "[x] (column 14)"]),
        ("[a]null[b];[b]hflip[a]", LinkError, ["circle", "null (column 4)", "hflip (column 15)"]),
        ("[i][b]feedback[o][c];[c]dv_draw=text=none[b]", LinkError,
         ["dv_draw (column 25) feeds back into feedback (column 7)", "only filters of libavfilter"]),
        ("null;[b]vflip[b]", LinkError, ["circle", "vflip (column 9) -> vflip (column 9)"]),
        ("split[o][a];[a]hflip[o]", LinkError, ["two open outputs", "[o]", "split (column 1)", "hflip (column 16)"]),
        ("[a]null[b];[a]anull[c]", LinkError, ["input [a]", "video frames", "audio frames", "anull (column 15)"]),
        ("null,nullsink", LinkError, ["null sink", "at least one open output"]),
        ("null,volume=2", LinkError, ["null (column 1) gives video frames", "volume (column 6) takes audio frames"]),
        ("split[a][b];[a][b]amix", LinkError, ["split (column 1)", "output pad 0", "amix (column 19)", "input pad 0"]),
        ("buffer=video_size=8x8:pix_fmt=gray:time_base=1", LinkError, ["buffer (column 1)", "leave it out"]),
        ("null,buffersink", LinkError, ["buffersink (column 6)", "leave it out"]),
        ("dv_encode=q=9:enable=1", LinkError, ["dv_encode (column 15)", "enable=", "one frame for each frame"]),
        ("dv_encode=q=64", OptionError, ["dv_encode", "q=64", "0 to 63", "column 11"]),
        ("null,dv_encode=q=low", OptionError, ["dv_encode", "q='low'", "an integer, 0 to 63", "column 16"]),
        ("dv_encode=gob=9", OptionError, ["dv_encode", "'gob'", "did you mean 'gop'", "column 11"]),
        ("dv_encode=q=9:50", OptionError, ["dv_encode", "'50'", "needs a name", "column 15"]),
        ("dv_human=sideways", OptionError, ["dv_human", "start='sideways'", "guided", "column 10"]),
    ],
)
def test_a_wrong_graph_text_is_named_with_its_column(text: str, kind: type[Exception], words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        Graph.parse(text)
    assert isinstance(caught.value, Error)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "scale=32:32,dv_machine",
            ["scale", "video frames on output pad 0", "dv_machine", "access units on input pad 0"],
        ),
        (
            "dv_encode@a,scale=32:32",
            ["dv_encode@a", "access units on output pad 0", "scale", "video frames on input pad 0"],
        ),
    ],
)
def test_a_mismatch_of_links_names_both_pads(text: str, words: list[str]) -> None:
    with pytest.raises(LinkError) as caught:
        Graph.parse(text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_size_that_a_native_filter_refuses_is_named_with_the_frames_size() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    with pytest.raises(OptionError, match=r"crop=1000:10|crop .*64x48 yuv420p.*too big"):
        list(Graph.parse("crop=1000:10").process([frame]))


def test_parsing_leaves_the_logging_level_as_it_was() -> None:
    before = av.logging.get_level()
    with pytest.raises(OptionError):
        Graph.parse("scale=foo=1")
    assert av.logging.get_level() == before


def test_a_mistake_that_is_made_again_is_named_as_the_first_time() -> None:
    said = []
    for _ in range(3):
        for text in ("scale=foo=3", "gblur=sigma=abc"):
            with pytest.raises(OptionError) as caught:
                Graph.parse(text)
            said.append(str(caught.value))
    assert said[2:4] == said[4:6] == said[:2]
    assert "no option 'foo'" in said[0] and "repeated" not in said[1]


def test_two_threads_that_read_the_log_leave_its_level_as_it_was() -> None:
    before = av.logging.get_level()
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        logged(lambda: (first_in.set(), second_in.wait(0.2)))  # type: ignore[func-returns-value]
        first_out.set()

    def second() -> None:
        first_in.wait(5)
        logged(lambda: (second_in.set(), first_out.wait(5)))  # type: ignore[func-returns-value]

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = av.logging.get_level()
    av.logging.set_level(before)
    assert after == before


@pytest.mark.parametrize("options", [":" * 20_000, "q" * 1200 + "=1", ":".join(["w=8"] * 5000 + ["zork=1"])])
def test_a_long_wrong_text_is_refused_at_once(options: str) -> None:
    begun = time.process_time()
    with pytest.raises(OptionError, match="scale"):
        Graph.parse(f"scale={options}")
    assert time.process_time() - begun < 1
