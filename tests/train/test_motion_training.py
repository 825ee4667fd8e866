"""Motion compensation in training: operators are fitted, P frames learn with the vectors that encoders choose."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from duoview.models import train_inter, train_machine_inter
from duoview.models.data import Material
from duoview.models.inter import InterCodec
from duoview.models.motion_operators import PIXELS, fit_material, fit_to
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import Shape, StillCodec, lagrangian
from duoview.models.sequences import SequenceMix
from duoview.models.train_inter import InterTraining, new_inter_codec
from duoview.models.train_machine_inter import MachineInterTraining
from duoview.motion_compensation import REACH, SHIFTS, ShiftOperators

MACHINE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_machine_inter_training.py"))))
eyes = MACHINE.eyes
SMALL: Shape = MACHINE.SMALL
Picture = NDArray[np.uint8]


def scene(height: int, width: int, seed: int = 0) -> Picture:
    """Smooth in some places and not in others, the same nowhere."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float64)
    fine = coarse.repeat(8, 0).repeat(8, 1)[:height, :width] + random.normal(0, 6, (height, width, 3))
    return np.clip(fine, 0, 255).astype(np.uint8)


def pan(frames: int, step: tuple[int, int] = (2, 5), height: int = 128, width: int = 128) -> Picture:
    """(frames, height, width, 3), a window that goes over a scene."""
    large = scene(height + step[0] * frames, width + step[1] * frames)
    return np.stack([large[step[0] * n:step[0] * n + height, step[1] * n:step[1] * n + width] for n in range(frames)])


@pytest.fixture(scope="module")
def material() -> Material:
    return Material([scene(160, 160, n) for n in range(3)], {"pan": pan(12)}, [], {"held": pan(3, (1, 4), 64, 64)})


def tracker() -> MotionTracker:
    """By random small operators, whose shifts look at the place that they come from more than at others."""
    random = np.random.default_rng(2)
    places = np.arange(SMALL.latent)
    weights = random.integers(-4, 5, (SHIFTS, SHIFTS, SMALL.latent * 9, SMALL.latent)).astype(np.int16)
    weights[:, :, places * 9 + 4, places] += 480
    weights[REACH, REACH] = 0
    weights[REACH, REACH, places * 9 + 4, places] = 512
    weight = np.repeat(100 * np.eye(SMALL.latent, dtype=np.float32)[None], 2, 0)
    return MotionTracker(ShiftOperators(weights), weight, lagrangian(torch.arange(64)).numpy())


def codecs() -> tuple[StillCodec, InterCodec]:
    torch.manual_seed(1)
    return StillCodec(SMALL), new_inter_codec(SMALL)


class Counted(MotionTracker):
    """Counts the frames that it is told of, and those in which something moves."""

    def __init__(self, of: MotionTracker) -> None:
        self.__dict__.update(of.__dict__)
        self.started = self.compensated = self.moved = self.finished = 0

    def start(self, numbers, frames):  # type: ignore[no-untyped-def]
        self.started += len(numbers)
        super().start(numbers, frames)

    def compensate(self, numbers, frames, z, z_m, q):  # type: ignore[no-untyped-def]
        found = super().compensate(numbers, frames, z, z_m, q)
        self.compensated += len(numbers)
        self.moved += int((found != z_m).flatten(1).any(1).sum())
        return found

    def finish(self, numbers, symbols):  # type: ignore[no-untyped-def]
        self.finished += len(numbers)
        super().finish(numbers, symbols)


def test_p_frames_learn_with_motion_compensation_and_go_on_from_their_checkpoint(
        material: Material, tmp_path: Path) -> None:
    still, _ = codecs()

    def run(steps: int) -> Counted:
        motion = Counted(tracker())
        options = InterTraining(minutes=5, steps=steps, batch=3, crop=64, mix=SequenceMix(mean=4.0))
        train_inter.train(material, still, options, tmp_path, motion)
        return motion

    first = run(4)
    assert first.compensated == first.finished > 0
    assert first.moved > 0
    saved = torch.load(tmp_path / "inter.pt", weights_only=True)
    second = run(7)
    again = torch.load(tmp_path / "inter.pt", weights_only=True)
    assert again["step"] == 7 > saved["step"] == 4
    assert second.moved > 0
    assert any(not torch.equal(again["inter"][name], weight) for name, weight in saved["inter"].items())


def test_the_machine_stage_of_p_frames_learns_with_it_and_goes_on(
        material: Material, eyes: object, tmp_path: Path) -> None:
    still, inter = codecs()

    def run(steps: int) -> Counted:
        motion = Counted(tracker())
        options = MachineInterTraining(minutes=5, steps=steps, batch=4, crop=64, mix=SequenceMix(mean=4.0))
        train_machine_inter.train(material, still, inter, eyes, MACHINE.label, options,  # type: ignore[arg-type]
                                  tmp_path, motion=motion)
        return motion

    assert run(3).moved > 0
    assert torch.load(tmp_path / "machine_inter.pt", weights_only=True)["step"] == 3
    assert run(5).moved > 0
    assert torch.load(tmp_path / "machine_inter.pt", weights_only=True)["step"] == 5


def test_a_tracker_takes_the_vectors_of_a_pan_and_leaves_what_stands_still() -> None:
    still, _ = codecs()
    motion = tracker()
    frames = np.stack([pan(2)[0], scene(128, 128, 7)])
    after = np.stack([pan(2)[1], frames[1]])
    with torch.no_grad():
        before, now = (still.encoder(train_inter.to_tensor(some)) for some in (frames, after))
        motion.start([5, 2], frames)
        found = motion.compensate([5, 2], after, now, before, torch.tensor([60, 60]))
    assert not torch.equal(found[0], before[0])
    assert torch.equal(found[1], before[1])


def test_fitted_operators_tell_a_latent_moved_and_are_the_identity_where_nothing_moves(material: Material) -> None:
    torch.manual_seed(0)
    encoder = StillCodec(SMALL).encoder.eval()
    held = Material(material.pictures, material.clips, [scene(160, 160, 9)])
    found = fit_to(encoder, held, 16)
    assert found.weights.dtype == np.int16 and found.weights.shape == (SHIFTS, SHIFTS, SMALL.latent * 9, SMALL.latent)
    assert found.left is not None and found.left[REACH, REACH] == 0
    assert 0 < found.left.max() < 1
    identity = np.zeros((SMALL.latent * 9, SMALL.latent), np.int16)
    identity[np.arange(SMALL.latent) * 9 + 4, np.arange(SMALL.latent)] = 512
    assert np.array_equal(found.weights[REACH, REACH], identity)
    assert ShiftOperators(found.weights).latent == SMALL.latent


def test_pictures_that_training_takes_but_no_crop_fits_into_are_not_fitted_to() -> None:
    """As half of a picture of 270 rows is: large enough for training's 128, not for 128 and a shift."""
    torch.manual_seed(0)
    encoder = StillCodec(SMALL).encoder.eval()
    small, large = [scene(64 + PIXELS - 1, 200, n) for n in range(6)], scene(64 + PIXELS, 80, 8)
    mixed = Material([*small, large], {"low": np.stack([small[0]] * 8)}, [small[1]])
    found = fit_to(encoder, mixed, 8, 64)
    assert found.left is None
    alone = fit_to(encoder, Material([large]), 8, 64)
    assert np.array_equal(found.weights, alone.weights)
    with pytest.raises(ValueError, match="no picture and no clip of 72x72 pixels or more"):
        fit_material(Material(small), 8, 64)


def test_too_few_crops_are_refused_by_number(material: Material) -> None:
    with pytest.raises(ValueError, match="3 crops to fit shift operators to: expected 8 or more"):
        fit_material(material, 3)
