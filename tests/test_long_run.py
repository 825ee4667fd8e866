"""Long streams: memory stays as it is, and seeks do not depend on how long the file is."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from duoview import Profile

if TYPE_CHECKING:
    from bench.long_run import Results

FOLDER = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture(scope="module")
def bench() -> Any:
    """bench/long_run.py; tests do not see the checkout as a package."""
    package = importlib.util.spec_from_file_location("bench", FOLDER / "__init__.py",
                                                     submodule_search_locations=[str(FOLDER)])
    assert package is not None
    sys.modules.setdefault("bench", importlib.util.module_from_spec(package))
    return importlib.import_module("bench.long_run")


@pytest.fixture(scope="module")
def results(bench: Any) -> Results:
    """2,000 frames, then an hour of their units in two formats."""
    settings = bench.Settings(width=96, height=64, frames=2000, samples=8, hours=1.0, seeks=60, preset="ultrafast")
    return bench.run(settings, Profile("s"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_frames(results: Results) -> None:
    run = results.run
    assert [memory.frames for memory in run.memory] == [250 * count for count in range(1, 9)]
    assert run.growth_mib < 8
    assert (run.decoded, run.concealed) == (2000, 0)


def test_seeks_in_an_hour_of_units_are_short_and_land_on_the_key_unit_before(results: Results) -> None:
    assert [one.format for one in results.seeks] == ["nut", "mov"]
    for one in results.seeks:  # where they landed was checked on the way
        assert one.units == 36_000
        assert one.median_milliseconds < 25


def test_units_of_a_file_are_repeated_with_times_that_go_on(bench: Any, tmp_path: Path) -> None:
    settings = bench.Settings(width=64, height=64, frames=50, samples=1, preset="ultrafast")
    bench.run_through(settings, Profile("s"), tmp_path / "units.dv")
    packets = list(bench.repeated(tmp_path / "units.dv", 130, settings.rate))
    assert sorted(packet.pts * packet.time_base for packet in packets)[:100] == [Fraction(n, 10) for n in range(100)]
    dts = [packet.dts for packet in packets]
    assert dts == sorted(set(dts)) and bytes(packets[129]) == bytes(packets[29])
