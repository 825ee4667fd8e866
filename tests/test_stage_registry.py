"""Stages of installed packages: found by entry point, loaded when named, refused when they take a taken name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from duoview.pipelines.command import main
from duoview.plugins.errors import LinkError
from duoview.plugins.graph import Graph
from duoview.plugins.registry import find_stage, stage_entries

MODULE = '''
from dataclasses import dataclass

from duoview import Stage
from duoview.plugins.options import option


class Skip(Stage):
    """Give every n-th frame."""

    name = "acme_skip"

    @dataclass(frozen=True)
    class Options:
        n: int = option(2, min=1, help="distance of the frames that stay")

    count = 0

    def filter(self, frame):
        self.count += 1
        if self.count % self.options.n == 1:
            yield frame


broken = 3
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "acme_stages.py").write_text(MODULE)
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    entries = ["acme_skip = acme_stages:Skip", "acme_broken = acme_stages:broken", "acme_gone = acme_gone:Stage"]
    (info / "entry_points.txt").write_text("\n".join(["[duoview.stages]", *entries, "scale = acme_stages:Skip", ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("acme_stages", None)


def frames(count: int) -> list[av.VideoFrame]:
    made = []
    for pts in range(count):
        frame = av.VideoFrame.from_ndarray(np.zeros((8, 8), np.uint8), "gray")
        frame.pts = pts
        made.append(frame)
    return made


def test_a_packages_stage_is_used_by_its_name_in_a_graph(package: Path) -> None:
    out = list(Graph.parse("acme_skip=n=3").process(frames(7)))
    assert [frame.pts for frame in out] == [0, 3, 6]


def test_listing_stages_imports_none_of_them(package: Path) -> None:
    names = [entry.name for entry in stage_entries()]
    assert names[:3] == ["dv_encode", "dv_machine", "dv_human"] and "acme_skip" in names
    assert "acme_stages" not in sys.modules


def test_an_entry_that_is_no_stage_is_named_with_its_package(package: Path) -> None:
    with pytest.raises(LinkError, match=r"acme_broken: acme_stages:broken of package acme is no duoview.Stage"):
        find_stage("acme_broken")


def test_a_native_filter_keeps_its_name_whatever_is_installed(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out, *_) = Graph.parse("scale=4:6").process(frames(1))
    assert (out.width, out.height) == (4, 6)
    assert main(["filters"]) == 0
    err = capsys.readouterr().err
    assert "warning: filter scale of package acme" in err and "takes the name of a built-in filter" in err


def test_the_list_of_filters_warns_of_what_cannot_be_imported(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["filters"]) == 0
    out, err = capsys.readouterr()
    assert "acme_skip" in out and "acme_gone" not in out
    assert "warning: filter acme_gone of package acme" in err


def test_a_stage_given_to_parse_needs_no_package(package: Path) -> None:
    stage = find_stage("acme_skip")
    assert stage is not None
    assert len(list(Graph.parse("mine=4", stages={"mine": stage}).process(frames(8)))) == 2
