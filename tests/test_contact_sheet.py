"""bench.contact_sheet: what is shown, what it says, and what is said of views that cannot be."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
BENCH: Any = ACCURACY.module("bench.contact_sheet")


def test_the_part_with_most_detail_is_found() -> None:
    picture = np.full((80, 120, 3), 90, np.uint8)
    picture[36:76, 62:118] = np.random.default_rng(0).integers(0, 256, (40, 56, 3))
    left, top, right, bottom = BENCH.busiest(picture)
    assert (right - left, bottom - top) == (60, 40)
    assert abs(top - 36) <= 1 and left <= 62 and right >= 118


def test_every_column_has_its_pictures_and_the_magnified_part() -> None:
    one, other = (np.full((40, 60, 3), value, np.uint8) for value in (200, 90))
    one[5:10, 5:10] = 0
    made = np.asarray(BENCH.sheet("title", [BENCH.Column("a", (one, one), ("", "")),
                                            BENCH.Column("b", (other, other), ("28 dB", "29 dB"))]))
    first, second = BENCH.GAP, BENCH.GAP + 60 + BENCH.GAP
    tops = [3 * (BENCH.LETTERS + 6) + BENCH.GAP + row * (40 + BENCH.LETTERS + 6 + 40 + 2 * BENCH.GAP) for row in (0, 1)]
    for top in tops:
        assert np.array_equal(made[top:top + 40, first:first + 60], one)
        assert np.array_equal(made[top:top + 40, second:second + 60], other)
        under = top + 40 + BENCH.LETTERS + 6
        assert (made[under:under + 40, second:second + 60] == 90).all()
        assert (made[under:under + 40, first:first + 60] == 0).all(-1).sum() == 4 * 25  # twice as large


def test_the_generated_share_is_the_one_that_the_picture_tells_of_itself(monkeypatch: pytest.MonkeyPatch,
                                                                          tmp_path: Path) -> None:
    ACCURACY.write_clip(tmp_path / "clip.mp4", ACCURACY.lavfi("testsrc2=size=96x64:rate=10", 2))
    view = ACCURACY.module("bench.views.view")
    told: list[tuple[float | None, ...]] = []

    def show(*given: Any) -> Any:
        shown = view.show(*given)
        told.append(shown.generated)
        return shown

    monkeypatch.setattr(BENCH, "show", show)
    notes: list[tuple[str, ...]] = []

    def sheet(title: str, found: list[Any]) -> Image.Image:
        notes.extend(one.notes for one in found)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(BENCH, "sheet", sheet)
    assert BENCH.main(["--clips", str(tmp_path), "--rows", "2", "--frames", "2", "--texture", "6", "--out",
                       str(tmp_path / "sheets"), "--views", "machine", "human:start=texture:texture=6:steps=0"]) == 0
    machine, human = told
    assert machine == (None, None) and all(isinstance(share, float) and share > 0 for share in human)
    assert all("generated" not in note for note in notes[1])
    assert [note.split("generated: ")[1] for note in notes[2]] == [f"{100 * share:.0f} % of its detail"
                                                                   for share in human if share is not None]


def test_a_sheet_is_written_for_every_clip_and_what_the_profile_lacks_is_said(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ACCURACY.write_clip(tmp_path / "clip.mp4", ACCURACY.lavfi("testsrc2=size=96x64:rate=10", 3))
    assert BENCH.main(["--clips", str(tmp_path), "--rows", "1", "--frames", "2", "--peers", "x264-veryfast",
                       "--out", str(tmp_path / "sheets")]) == 0
    said = capsys.readouterr().out
    shown = 4 - said.count("left out: ")
    assert shown >= 2 and "machine: left out" not in said and "guided:steps=4: left out" not in said
    with Image.open(tmp_path / "sheets" / "clip.jpg") as picture:
        assert picture.width == BENCH.GAP + (96 + BENCH.GAP) * (shown + 2)  # the source and a peer too
    assert BENCH.main(["--clips", str(tmp_path), "--views", "machine", "human:start=nothing",
                       "--out", str(tmp_path / "none")]) == 1
    assert "start='nothing'" in capsys.readouterr().err
