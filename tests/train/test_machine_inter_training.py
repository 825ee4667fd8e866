"""The machine stage of P frames: regions of sequences, that it learns and goes on, and its measurement."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from duoview.detectors import FastestDet
from duoview.models.data import Material
from duoview.models.feature_loss import DetectorEye
from duoview.models.inter import InterCodec
from duoview.models.machine_fidelity import ClassifierEye, Eyes
from duoview.models.machine_material import RegionWeights
from duoview.models.network import Shape, StillCodec
from duoview.models.object_labels import Found
from duoview.models.sequences import SequenceMix
from duoview.models.train_inter import new_inter_codec
from duoview.models.train_machine_inter import MachineInterTraining, RegionTracker, train, validate

FOREIGN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_foreign_network.py"))))
SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
AGREEMENT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_agreement.py"))))
SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)


def label(picture: NDArray[np.uint8]) -> Found:
    """Nothing sure but what is bright."""
    rows, columns = np.nonzero(picture.min(2) > 200)
    if not len(rows):
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([box], np.float32), np.array([0.9], np.float32)


def codecs() -> tuple[StillCodec, InterCodec]:
    torch.manual_seed(1)
    return StillCodec(SMALL), new_inter_codec(SMALL)


def clip(frames: int = 12) -> NDArray[np.uint8]:
    """A bright square that crosses a scene."""
    scene = np.minimum(AGREEMENT.scene(3), 180)
    out = np.repeat(scene[None], frames, 0)
    for n, frame in enumerate(out):
        frame[40:64, 8 + 6 * n:32 + 6 * n] = 230
    return out


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    path = FOREIGN.grid_detector(tmp_path_factory.mktemp("eyes") / "grid.onnx")
    return Eyes((DetectorEye(path, FastestDet(), (1.0, 1.0)),), (ClassifierEye(SHUFFLE.backbone(), 1.0),))


@pytest.fixture(scope="module")
def material() -> Material:
    return Material([AGREEMENT.scene(n) for n in range(4)], {"crossing": clip()}, [], {"held": clip()})


def options(**changes: object) -> MachineInterTraining:
    values = {"minutes": 0.1, "batch": 4, "crop": 64, "rate": 2e-3, "mix": SequenceMix(mean=6.0), **changes}
    return MachineInterTraining(**values)  # type: ignore[arg-type]


def test_what_moved_counts_from_the_second_frame_of_a_sequence_on() -> None:
    tracker = RegionTracker(RegionWeights(outside=0.1, edges=0, motion=0.5), lambda picture: (
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
    first, second = clip()[:2]
    frames, moved = np.stack([first, first]), np.stack([second, second])
    assert (tracker.weights(frames, np.array([True, True])) == np.float32(0.1)).all()
    weights = tracker.weights(moved, np.array([False, True]))
    assert weights.shape == (2, 1, 96, 128)
    assert weights[0].max() == pytest.approx(0.6) and weights[1].max() == np.float32(0.1)
    assert weights[0, 0, 40:64, 32:38].min() > 0.5 and weights[0, 0, :32].max() == np.float32(0.1)


def test_objects_count_in_full_in_every_frame() -> None:
    tracker = RegionTracker(RegionWeights(), label)
    weights = tracker.weights(clip()[:1], np.array([True]))
    assert (weights[0, 0, 40:64, 8:32] == 1).all() and weights.min() < 0.2


def test_training_changes_p_frames_alone_and_goes_on(
        material: Material, eyes: Eyes, tmp_path: Path) -> None:
    still, inter = codecs()
    before = {name: value.clone() for name, value in still.state_dict().items()}
    weight = inter.fine_out.weight.detach().clone()
    train(material, still, inter, eyes, label, options(), tmp_path, judges={"bright": AGREEMENT.bright},
          report_seconds=0)
    assert all(torch.equal(value, before[name]) for name, value in still.state_dict().items())
    saved = torch.load(tmp_path / "machine_inter.pt", weights_only=True)
    assert not torch.equal(saved["inter"]["fine_out.weight"], weight)
    log = [json.loads(line) for line in (tmp_path / "machine_inter.jsonl").read_text().splitlines()]
    assert {"picture", "features", "answers", "classes", "bpp", "q16_bpp", "q40_psnr", "q28_agree50"} <= set(log[0])
    longer = options(minutes=saved["spent"] / 60 + 0.15)
    train(material, still, codecs()[1], eyes, label, longer, tmp_path)
    assert torch.load(tmp_path / "machine_inter.pt", weights_only=True)["step"] > saved["step"]


def test_measured_rates_rise_with_the_quality(material: Material) -> None:
    still, inter = codecs()
    shown = validate(still, inter, material.held_clips, {}, levels=(0, 63), frames=4)
    assert 0 < shown["q0_bpp"] < shown["q63_bpp"]
    assert "q0_agree50" not in shown


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        MachineInterTraining(crop=100)
