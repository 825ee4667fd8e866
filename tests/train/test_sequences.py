"""Sequences for P-frame training: their length and how clips are played."""

from __future__ import annotations

import numpy as np

from duoview.models.data import Material
from duoview.models.sequences import SequenceMix, sequence

FRAMES = 12


def levels(length: int, seed: int) -> list[int]:
    """Which frame of a clip of ``FRAMES`` each frame of a sequence is."""
    clip = np.stack([np.full((48, 48, 3), n, np.uint8) for n in range(FRAMES)])
    material = Material(pictures=[clip[0]], clips={"a": clip})
    mix = SequenceMix(real=1.0, still=0.0, shortest=length, longest=length, noise=0.0)
    return [int(clean[0, 0, 0]) for _, clean in sequence(material, 32, mix, np.random.default_rng(seed))]


def test_a_sequence_longer_than_its_clip_plays_it_to_and_fro() -> None:
    there_and_back = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
    directions = set()
    for seed in range(12):
        played = levels(40, seed)
        expected = [there_and_back[n % len(there_and_back)] for n in range(40)]
        directions.add(played[0])
        assert played in (expected, [FRAMES - 1 - n for n in expected])
    assert directions == {0, FRAMES - 1}


def test_a_sequence_within_its_clip_plays_in_one_direction_at_one_pace() -> None:
    for seed in range(12):
        played = levels(5, seed)
        assert len(played) == 5
        assert set(np.diff(played)) in ({1}, {-1}, {2}, {-2})


def test_sequences_are_never_longer_than_the_longest() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    mix = SequenceMix(shortest=2, mean=30.0, longest=20, noise=0.0)
    random = np.random.default_rng(0)
    lengths = [sum(1 for _ in sequence(Material(pictures=[picture]), 64, mix, random)) for _ in range(40)]
    assert min(lengths) >= 2 and max(lengths) == 20
