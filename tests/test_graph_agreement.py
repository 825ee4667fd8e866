"""Generated filtergraphs give through our graphs what they give through libavfilter's parser, or both refuse them."""

from __future__ import annotations

import itertools
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
# python -m bench.filtergraphs compares 10,000; more can be asked for here too.
COUNT = int(os.environ.get("DUOVIEW_FILTERGRAPHS", "400"))
PART = 50


@pytest.mark.parametrize("first", range(100_000, 100_000 + COUNT, PART))
def test_generated_graphs_are_read_as_libavfilter_reads_them(first: int) -> None:
    bench = BENCH.module("bench.filtergraphs")
    results = bench.run(bench.Settings(count=PART, seed=first))
    assert results.examples == ()
    assert results.different == 0
    assert results.same_frames >= PART // 5 and results.both_refused >= PART // 10  # neither side of the claim is empty


@pytest.mark.parametrize(
    "text",
    [
        "split,hstack",
        "split=3[a][b],[a][b]hstack=3",
        "split=2[a],[a]hstack",
        "null[a],[a]null",
        " null [ a ] ; [ a ] hflip [ out ] ",
        "null['a;b'];[a\\;b]hflip",
        "null[a];[a]hflip;",
        "split[a][b];[b][a]hstack",
        "split[a][a];[a][a]hstack",
        "split[x][x];[x]hflip[l];[x]vflip[r];[l][r]hstack",
        "[x]hflip[l];[x]vflip[r];[l][r]hstack[out];[in]extractplanes=r+g[x][x]",
        "[x]hflip[l];[x]vflip[r];[l][r]hstack[out];[in]split[p][q];[p]null[x];[q]negate[x]",
        "fps=50,select=n=2:e='1+mod(floor(n/7),2)'[out0][out1]",
        "fps=50,split[a][b];[a]select='not(mod(n,9))'[out0];[b]fps=3,hflip[out1]",
        "split[x][out1];[x]hflip[out0]",
        "split[out0][b];[b]nullsink",
        "null[in];[in]hflip",
        "[out]hflip;null",
        "null[a];[b]hflip",
        "null[a]hflip",
        "split[a][b][c]",
        "null[];null",
        "null[a",
        "null]",
        "hflip[a];[a]null[a]",
        "null@x,null@x",
        "null@,hflip",
        "@x,hflip",
        "null;;hflip",
        ";null",
        "drawbox=color=red\\@0.5:w=8:h=8",
        "drawbox='color=red@0.5':w=8:h=8",
        "crop=w='if(gt(iw,10),20,10)':h=10",
        "crop=if(gt(iw\\,10)\\,20\\,10):10",
        "crop='if(gt(iw\\,10)\\,20\\,10)':10",
        "negate=enable='gte(t,0.4)'",
        "negate=enable=gte(t\\,0.4)",
        "split[a][b];[a]negate=enable='mod(n,2)'[c];[b][c]hstack",
        "scale=8:8,scale=32:32:flags=neighbor",
        "concat",
        "split[a][b];[a][b]concat",
        "sws_flags=neighbor;null",
        "split[a][b];[a]anull[c];[b][c]hstack",
    ],
)
def test_labels_quotes_and_names_mean_what_they_mean_to_libavfilter(text: str) -> None:
    bench = BENCH.module("bench.filtergraphs")
    text = f"testsrc=s=32x24:r=5:d=1,{text}" if not text.startswith("[") else f"testsrc=s=32x24:r=5:d=1[in];{text}"
    assert bench.compare(text)[0] != "different"


@pytest.mark.parametrize("text", [
    "[in][b]feedback=x=4:y=4:w=16:h=12[out][c];[c]gblur=3[b]",
    "[in][b]feedback@again=w=16:h=12[c][d];[d]vflip,negate[b];[c]hflip",
    "[c]negate[b];[in][b]feedback=w=16:h=12[d][c];[d]null",
])
def test_feedback_leads_a_region_back_through_native_filters(text: str) -> None:
    bench = BENCH.module("bench.filtergraphs")
    outcome, theirs = bench.compare(f"testsrc=s=32x24:r=5:d=1[in];{text}")
    assert outcome == "same" and len(theirs[0]) == 5


@pytest.mark.parametrize("flags", ["neighbor", "area", "bicublin", "lanczos+accurate_rnd", "bilinear:param0=1"])
@pytest.mark.parametrize(
    "text",
    [
        "testsrc=s=32x24:r=5:d=1,scale=20:18",
        "testsrc=s=32x24:r=5:d=1,scale=20:18:lanczos",
        "testsrc=s=32x24:r=5:d=1,scale=20:18:flags=neighbor",
        "testsrc=s=32x24:r=5:d=1,format=yuv410p,format=rgb24",
        "testsrc=s=32x24:r=5:d=1,format=yuv410p[a];testsrc2=s=32x24:r=5:d=1[b];[a][b]hstack",
        "testsrc=s=32x24:r=5:d=1,split[a][b];[b][a]overlay=x=4",
        "smptebars=s=16x16:r=5:d=0.8,select=1:e=n:outputs=2[a][b];[b][a]overlay,trim=end_frame=3",
    ],
)
def test_sws_flags_reach_scale_filters_and_those_that_libavfilter_inserts(text: str, flags: str) -> None:
    bench = BENCH.module("bench.filtergraphs")
    text = f"sws_flags={flags};{text}"
    outcome, theirs = bench.compare(text)
    assert theirs is not None and theirs[0]
    assert outcome in ("same", "unsteady")


def test_the_comparison_sees_other_frames_other_times_and_other_outputs() -> None:
    bench = BENCH.module("bench.filtergraphs")
    source = "testsrc=s=32x24:r=5:d=1"
    theirs = bench.by_libavfilter(source)
    for other in ("hflip", "setpts=PTS+1", "settb=1/50", "split[out0][out1]", "trim=end_frame=4", "format=gbrp"):
        assert not bench.agree(bench.by_graph(f"{source},{other}"), theirs)
    assert not bench.agree(None, theirs) and not bench.agree(bench.by_graph(source), None)


def test_only_what_libavfilter_itself_varies_in_is_unsteady() -> None:
    bench = BENCH.module("bench.filtergraphs")
    one, other = ({0: [(number,)]} for number in (1, 2))
    turns = itertools.cycle([one, *[other] * 5])
    assert bench.compare("", ours=lambda _: other, theirs=lambda _: next(turns))[0] == "unsteady"
    assert bench.compare("", ours=lambda _: {0: [(3,)]}, theirs=lambda _: next(turns))[0] == "different"
    assert bench.compare("", ours=lambda _: other, theirs=lambda _: one)[0] == "different"
    assert bench.compare("", ours=lambda _: one, theirs=lambda _: one) == ("same", one)
    assert bench.compare("", ours=lambda _: None, theirs=lambda _: None) == ("refused", None)
