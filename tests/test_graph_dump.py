"""What a graph says of itself, in words and for graphviz."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import pytest

from duoview.plugins.errors import OptionError
from duoview.plugins.graph import Graph

TEXT = "[0:v] split [a][b]; [a] dv_encode=q=24 [units]; [b] scale@small=32:24, hflip [p]"


def test_the_dump_names_runs_filters_columns_and_what_each_pad_is_linked_to() -> None:
    assert Graph.parse(TEXT).dump() == "\n".join(
        [
            "native run 1: split, scale@small, hflip",
            "  split, column 7",
            "    input 0, video frames, from [0:v]",
            "    output 0, video frames, to dv_encode:0",
            "    output 1, video frames, to scale@small:0",
            f"  scale@small, column {TEXT.index('scale') + 1}",
            "    input 0, video frames, from split:1",
            "    output 0, video frames, to hflip:0",
            f"  hflip, column {TEXT.index('hflip') + 1}",
            "    input 0, video frames, from scale@small:0",
            "    output 0, video frames, to [p]",
            "stage 2: dv_encode",
            "  dv_encode, column 25",
            "    input 0, video frames, from split:0",
            "    output 0, access units, to [units]",
        ]
    )


def test_once_frames_came_through_the_dump_tells_their_properties() -> None:
    with av.open("testsrc=size=64x48:rate=10:duration=0.2", format="lavfi") as container:
        frames = list(container.decode(video=0))
    with Graph.parse(TEXT, rate=Fraction(10)) as graph:
        list(graph.run(frames))
        lines = graph.dump().splitlines()
    assert "  output 1 gave video frames 32x24 rgb24 time base 1/10 10 frames/s" in lines
    assert "  output 0 gave access units 64x48 time base 1/10 10 frames/s" in lines


def test_the_dot_text_has_a_node_for_each_filter_and_an_edge_for_each_link() -> None:
    text = Graph.parse(TEXT).dump("dot")
    assert text.startswith("digraph") and text.count("{") == text.count("}")
    nodes = dict(re.findall(r"^ +(\w+) \[.*?label=\"(.*?)\"\];$", text, re.MULTILINE))
    assert nodes == {
        "n0": "split", "n1": "dv_encode", "n2": "scale@small", "n3": "hflip",
        "i0": "[0:v]", "o0": "[units]", "o1": "[p]",
    }  # fmt: skip
    edges = set(re.findall(r"(\w+) -> (\w+) \[label=\"\d+:\d+ ([a-z ]+)\"", text))
    assert edges == {
        ("i0", "n0", "video frames"), ("n0", "n1", "video frames"), ("n0", "n2", "video frames"),
        ("n2", "n3", "video frames"), ("n1", "o0", "access units"), ("n3", "o1", "video frames"),
    }  # fmt: skip
    assert text.count("subgraph cluster_") == 1


def test_quotes_in_labels_are_escaped_for_graphviz() -> None:
    assert r'[label="null@a\"b"]' in Graph.parse('null@a"b').dump("dot")


def test_another_form_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(OptionError, match="form='dots': expected text or dot; did you mean 'dot'"):
        Graph.parse("null").dump("dots")
