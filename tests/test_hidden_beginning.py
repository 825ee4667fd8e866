"""A MOV file whose edit list hides its beginning starts, for all who count time, with the first unit that is shown."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import duoview
from duoview import Decoder, Encoder, InnerSettings
from duoview.human import HumanView
from duoview.pipelines.command import main
from duoview.pipelines.console import LEVELS, Console
from duoview.pipelines.probe import probe
from duoview.unit_origin import is_discarded

RATE, COUNT, HIDDEN, SHOWN = Fraction(25), 8, 3, 5
QUIET = Console(LEVELS["error"])


def pictures() -> list[av.VideoFrame]:
    """Grey frames, each brighter than the one before."""
    found = []
    for number in range(COUNT):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 25 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, 1 / RATE
        found.append(frame)
    return found


def write(path: Path, encoder: Encoder) -> None:
    """All frames as a file."""
    with duoview.open(str(path), "w") as output:
        output.add_stream(rate=RATE, width=64, height=64, time_base=Fraction(1, 12800))
        for frame in [*pictures(), None]:
            for packet in encoder.encode(frame):
                output.mux(packet)


def hide(path: Path, *, empty: Fraction = Fraction(0)) -> None:
    """Let the edit list show the last five of the frames, ``empty`` seconds of nothing before them."""
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 8  # behind version and flags
    ticks = struct.unpack_from(">I", content, content.find(b"mvhd") + 16)[0]
    scale = struct.unpack_from(">I", content, content.find(b"mdhd") + 16)[0]
    first = struct.unpack_from(">i", content, place + 8)[0]  # more than 0 where frames are reordered
    struct.pack_into(">Ii", content, place + 4, int(ticks * SHOWN / RATE), first + int(scale * HIDDEN / RATE))
    if empty:
        assert content.find(b"mdat") < place, "else all places in the file would change"
        content[place:place + 4] = struct.pack(">IIiI", 2, int(ticks * empty), -1, 1 << 16)
        for box in (b"elst", b"edts", b"trak", b"moov"):
            size = content.rfind(box, 0, place) - 4
            struct.pack_into(">I", content, size, struct.unpack_from(">I", content, size)[0] + 12)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of one group of pictures, of which the last five are shown."""
    path = tmp_path_factory.mktemp("hidden") / "hidden.mov"
    write(path, Encoder(64, 64, rate=RATE, gop=COUNT, profile="s", threads=1))
    hide(path)
    return path


def greys(path: Path) -> list[int]:
    """Which frame each picture of a file is."""
    with av.open(str(path)) as container:
        return [round((float(frame.to_ndarray(format="rgb24").mean()) - 20) / 25)
                for frame in container.decode(video=0)]


def decoded(source: Path, tmp_path: Path, *options: str, behind: tuple[str, ...] = ()) -> list[int]:
    """What ``duoview decode`` shows of it."""
    target = tmp_path / "out.nut"
    assert main(["decode", "-y", "-threads", "1", *options, "-i", str(source), *behind, "-c", "ffv1", str(target)]) == 0
    return greys(target)


def test_the_stream_starts_with_the_first_unit_that_is_shown(hidden: Path) -> None:
    with duoview.open(str(hidden)) as source:
        stream, packets = source.stream, list(source.demux())
    assert [is_discarded(packet) for packet in packets] == [True] * HIDDEN + [False] * SHOWN
    assert packets[0].pts is not None and packets[0].pts < 0
    assert stream.start_time == packets[HIDDEN].pts == 0
    assert stream.duration is not None and stream.duration * stream.time_base == SHOWN / RATE


def test_all_frames_that_are_shown_are_decoded(hidden: Path, tmp_path: Path) -> None:
    assert decoded(hidden, tmp_path) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("behind", [False, True])
def test_a_duration_counts_from_the_first_frame_that_is_shown(hidden: Path, tmp_path: Path, behind: bool) -> None:
    options = ("-t", "0.12")
    found = decoded(hidden, tmp_path, behind=options) if behind else decoded(hidden, tmp_path, *options)
    assert found == [3, 4, 5]


@pytest.mark.parametrize("behind", [False, True])
def test_a_start_counts_from_the_first_frame_that_is_shown(hidden: Path, tmp_path: Path, behind: bool) -> None:
    options = ("-ss", "0.12")
    found = decoded(hidden, tmp_path, behind=options) if behind else decoded(hidden, tmp_path, *options)
    assert found == [6, 7]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.08, 9.0])
def test_a_seek_lands_on_the_hidden_key_unit_that_the_shown_ones_need(hidden: Path, seconds: float) -> None:
    decoder = Decoder(threads=1)
    with duoview.open(str(hidden)) as source:
        landed = source.seek(seconds)
        packets = list(source.demux())
    assert landed == packets[0].pts == -HIDDEN / RATE / packets[0].time_base and len(packets) == COUNT
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    assert len(frames) == SHOWN and not decoder.stats.skipped


@pytest.mark.parametrize(("options", "shown"), [((), 5), (("-ss", "0.12"), 2), (("-t", "0.12"), 3)])
def test_a_human_view_samples_nothing_that_is_not_shown(hidden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        options: tuple[str, ...], shown: int) -> None:
    calls = []
    latent = HumanView.latent

    def counted(self: HumanView, *arguments: Any) -> Any:
        calls.append(1)
        return latent(self, *arguments)

    monkeypatch.setattr(HumanView, "latent", counted)
    assert len(decoded(hidden, tmp_path, "-view", "human", *options)) == shown == len(calls)


def test_probe_tells_the_time_of_the_first_unit_that_is_shown(hidden: Path) -> None:
    report = probe(str(hidden), None, QUIET)
    assert (report["start_time"], report["duration"], report["units"]) == (0.0, float(SHOWN / RATE), COUNT)


def test_cut_tells_of_no_hidden_unit_that_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "damaged.mov", tmp_path / "cut.nut"
    write(path, Encoder(64, 64, rate=RATE, gop=4, profile="s", threads=1))
    with duoview.open(str(path)) as source:
        first = bytes(next(source.demux()))
    content = path.read_bytes()
    assert content.count(first) == 1
    path.write_bytes(content.replace(first, bytes(len(first))))
    hide(path)
    assert main(["cut", "-layers", "machine", "-i", str(path), str(target)]) == 0
    told = capsys.readouterr().err
    assert "before the first key unit is left out" in told and "keeps from being shown" not in told


def test_time_without_a_picture_before_them_moves_the_start(hidden: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.mov"
    write(path, Encoder(64, 64, rate=RATE, gop=COUNT, profile="s", threads=1))
    hide(path, empty=Fraction(1))
    with duoview.open(str(path)) as source:
        assert source.stream.start_time == 1 / source.stream.time_base
    assert decoded(path, tmp_path, "-t", "0.12") == [3, 4, 5]
    assert decoded(path, tmp_path, "-ss", "0.12") == [6, 7]


def test_where_units_are_reordered_the_start_is_the_earliest_of_all_that_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "reordered.mov"
    settings = InnerSettings(codec="h264", threads=1, preset="medium", simplify="off")
    write(path, Encoder(64, 64, rate=RATE, gop=COUNT, profile="s", machine="inner", inner=settings, threads=1))
    hide(path)
    with duoview.open(str(path)) as source:
        stream, packets = source.stream, list(source.demux())
    shown = [packet.pts for packet in packets if not is_discarded(packet)]
    assert is_discarded(packets[0]) and shown[0] > min(shown)
    assert stream.start_time == min(shown) == 0
