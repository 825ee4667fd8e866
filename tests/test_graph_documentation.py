"""Filtergraphs of FFmpeg's documentation give through our graphs what they give through libavfilter's own parser."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
SOURCES = {
    "0:v": "testsrc=s=64x48:r=5:d=1,format=yuv420p",
    "1:v": "testsrc2=s=64x48:r=5:d=1,format=yuv420p",
    "0:a": "sine=d=0.3:r=8000",
}
# What an unlabelled text of each section is put between; lavfi gives packed samples only.
ENDS = {
    "one video input": ("[0:v]", ""),
    "two video inputs, 0:v and 1:v": ("", ""),
    "video sources": ("", ""),
    "one audio input": ("[0:a]", ",aformat=sample_fmts=flt"),
    "audio sources, and audio made visible": ("", ""),
}


def documented() -> Iterator[tuple[str, str]]:
    section = ""
    for line in Path(__file__).with_name("documented_filtergraphs.txt").read_text().splitlines():
        if line.startswith("= "):
            section = line[2:]
        elif section and line:
            yield section, line


def whole(section: str, text: str) -> str:
    """The text with its inputs labelled and its samples packed, where it says neither itself."""
    begin, end = ENDS[section]
    text = text.replace("[in]", begin) if "[in]" in text else begin + text
    if "audio sources" in section and not any(word in text for word in ("show", "out0", "scope", "ahistogram")):
        end = ",aformat=sample_fmts=flt"
    return text + end


def with_sources(text: str) -> str:
    """The text with sources of libavfilter in place of its inputs."""
    chains = []
    for name, source in SOURCES.items():
        count = text.count(f"[{name}]")
        if count:
            split = f",split={count}" if count > 1 else ""
            chains.append(source + split + f"[{name}]" * count)
    return ";".join((*chains, text))


@cache
def frames(source: str) -> list[av.VideoFrame | av.AudioFrame]:
    with av.open(source, format="lavfi") as container:
        decoded = container.decode(container.streams[0])
        return [frame for frame in decoded if isinstance(frame, (av.VideoFrame, av.AudioFrame))]


@pytest.mark.parametrize(("section", "text"), tuple(documented()))
def test_a_documented_graph_gives_the_frames_and_times_of_libavfilter(section: str, text: str) -> None:
    bench = BENCH.module("bench.filtergraphs")
    text = whole(section, text)
    theirs = bench.by_libavfilter(with_sources(text))
    assert theirs is not None, "libavfilter refuses it: it does not belong here"
    items = {name: frames(source) for name, source in SOURCES.items()}
    assert bench.agree(bench.by_graph(text, items, Fraction(5)), theirs)
