"""Pipes and file objects that cannot seek: low delay, and nothing lost at the start."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from duoview.errors import ContainerError
from duoview.plugins import containers

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
COPY = """
import sys
from duoview.plugins import containers
with containers.open("-") as source, containers.open("-", "w", {format!r}) as out:
    s = source.stream
    out.add_stream(rate=s.average_rate, width=s.width, height=s.height, time_base=s.time_base)
    out.mux(source.demux())
"""


@pytest.mark.parametrize("format_", [None, "mpegts", "dv"])
def test_a_process_reads_standard_input_and_writes_standard_output(tmp_path: Path, format_: str | None) -> None:
    data = STREAM.units(40)
    STREAM.write(tmp_path / "a.nut", data)
    copied = tmp_path / "copied"
    with (tmp_path / "a.nut").open("rb") as source, copied.open("wb") as sink:
        feeder = subprocess.Popen(["cat"], stdin=source, stdout=subprocess.PIPE)
        command = [sys.executable, "-c", COPY.format(format=format_)]
        done = subprocess.run(
            command, stdin=feeder.stdout, stdout=sink, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        feeder.wait(timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    read = STREAM.read(copied)
    assert [s.data for s in read] == data
    assert [s.pts * STREAM.RATE for s in read] == list(range(40))


def live(writer: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=writer, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("format_", ["nut", "dv"])
def test_a_unit_can_be_read_as_soon_as_it_was_muxed(format_: str) -> None:
    data = STREAM.units(30, sizes=(20, 300))
    read_end, write_end = os.pipe()
    sent: list[int] = []
    got = threading.Semaphore(0)

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as sink, containers.open(sink, "w", format_) as out:
            out.add_stream(rate=STREAM.RATE, width=640, height=360)
            for n, unit in enumerate(data):
                out.mux(STREAM.packet(unit, n, 1 / STREAM.RATE))
                sent.append(n)
                # Opening looks at the first two kilobytes; from then on each unit must come without the next.
                if n >= 20:
                    assert got.acquire(timeout=10), f"unit {n} did not come before the next was sent"

    thread = live(write)
    with os.fdopen(read_end, "rb") as file, containers.open(file) as source:
        read = []
        for packet in source.demux():
            read.append(bytes(packet))
            if len(read) > 20:
                assert len(sent) <= len(read)
                got.release()
    thread.join(10)
    assert read == data


def test_a_live_transport_stream_gives_units_within_the_bundling_time() -> None:
    data = STREAM.units(30, sizes=(300,))
    read_end, write_end = os.pipe()
    sent: dict[bytes, float] = {}

    def write() -> None:
        options = {"bundle_seconds": "0"}
        with os.fdopen(write_end, "wb", buffering=0) as sink, containers.open(sink, "w", "mpegts", options) as out:
            out.add_stream(rate=STREAM.RATE, width=640, height=360)
            for n, unit in enumerate(data):
                sent[unit] = time.monotonic()
                out.mux(STREAM.packet(unit, n, 1 / STREAM.RATE))
                time.sleep(0.02)

    thread = live(write)
    delays = []
    with os.fdopen(read_end, "rb") as file, containers.open(file) as source:
        for packet in source.demux():
            delays.append(time.monotonic() - sent[bytes(packet)])
    thread.join(10)
    assert len(delays) == 30
    # Without bundling a unit waits for nothing; the median leaves room for a machine that stalls.
    assert sorted(delays[10:])[10] < 0.5


@pytest.mark.parametrize("format_", ["nut", "mpegts", "dv"])
def test_seeking_in_a_pipe_is_a_named_error(format_: str) -> None:
    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as sink:
            STREAM.write(sink, STREAM.units(5), format=format_)

    thread = live(write)
    with containers.open(f"pipe:{read_end}") as source:
        with pytest.raises(ContainerError, match="cannot seek in a pipe"):
            source.seek(0)
        assert len(list(source.demux())) == 5
    thread.join(10)
    os.close(read_end)


def test_an_empty_pipe_is_a_clear_error() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    with pytest.raises(ContainerError, match="the input is empty"):
        containers.open(f"pipe:{read_end}")
    os.close(read_end)


def test_a_pipe_that_is_set_not_to_wait_loses_nothing() -> None:
    data = STREAM.units(60, sizes=(20_000,))
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)

    def write() -> None:
        time.sleep(0.1)  # the reader finds nothing at first
        STREAM.write(f"pipe:{write_end}", data, format="dv")
        os.close(write_end)

    thread = live(write)
    with containers.open(f"pipe:{read_end}") as source:
        time.sleep(0.1)  # the writer finds the pipe full
        assert [s.data for s in STREAM.samples(source)] == data
    thread.join(10)
    os.close(read_end)
