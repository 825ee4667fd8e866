"""The model card says what a profile was trained with and how that went."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from duoview.export.card import model_card
from duoview.models.data import Material
from duoview.models.network import Shape
from duoview.models.sequences import SequenceMix
from duoview.models.train_denoiser import DenoiserTraining
from duoview.models.train_inter import InterTraining
from duoview.models.train_still import StillTraining

LINES = [{"step": 10, "crops": 240, "minutes": 1.0, "loss": 0.5, "lr": 0.002, "q24_bpp": 0.3, "q24_hyper": 0.01,
          "accumulator_share": 0.4},
         {"step": 20, "crops": 480, "minutes": 2.0, "final": True, "q24_bpp": 0.2, "q24_hyper": 0.01,
          "accumulator_share": 0.6}]


def card(work: Path, inter: InterTraining | None = None) -> str:
    """A card with its white space evened out, as Markdown reads it; tables keep their lines."""
    nothing = np.zeros((1, 128, 128, 3), np.uint8)
    material = Material(pictures=[nothing[0]], held_clips={"yard": nothing, "b": nothing})
    text = model_card("tiny", Shape(), material, "Made up.", work,
                      (StillTraining(), inter or InterTraining(), DenoiserTraining()), "none")
    return "\n\n".join(part if part.startswith("|") else " ".join(part.split()) for part in text.split("\n\n"))


def test_a_card_names_what_was_held_back(tmp_path: Path) -> None:
    assert "held back: 0 pictures, clips b, yard." in card(tmp_path)


def test_a_card_records_how_p_frames_were_trained(tmp_path: Path) -> None:
    text = card(tmp_path, InterTraining(eagerness=0.7, mix=SequenceMix(mean=33.0, longest=123)))
    assert '"eagerness": 0.7' in text and '"mean": 33.0, "longest": 123' in text
    assert "up to 123 frames long: real clips, played to and fro" in text
    assert "from 0 (to the nearest) to 0.7." in text


def test_a_card_shows_a_log_as_a_table_without_its_bookkeeping(tmp_path: Path) -> None:
    (tmp_path / "still.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert ("| step | minutes | loss | q24_bpp | accumulator_share |\n|-|-|-|-|-|\n"
            "| 10 | 1.0 | 0.5 | 0.3 | 0.4 |\n| 20 | 2.0 |  | 0.2 | 0.6 |\n") in card(tmp_path)


def test_a_stage_without_a_log_is_said_to_have_none(tmp_path: Path) -> None:
    assert card(tmp_path).count("(no log)") == 3
