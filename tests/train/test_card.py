"""The model card says what a profile was trained with and how that went."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from duoview.export.card import model_card, put_section, restoration_section, saliency_section
from duoview.models.coded_pairs import Scene
from duoview.models.data import Material
from duoview.models.labelled_pictures import LabelledPicture
from duoview.models.network import Shape
from duoview.models.sequences import SequenceMix
from duoview.models.train_denoiser import DenoiserTraining
from duoview.models.train_inter import InterTraining
from duoview.models.train_restoration import RestorationTraining
from duoview.models.train_saliency import SaliencyTraining
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


# ---- sections


def section(work: Path) -> str:
    """A section on the saliency network, its white space evened out."""
    picture, none = np.zeros((8, 8, 3), np.uint8), np.zeros((0, 4), np.float32)
    items = [LabelledPicture("yard.mp4", picture, np.ones((2, 4), np.float32), np.array([1.0, 0.5], np.float32),
                             picture),
             LabelledPicture("yard.mp4", picture, none, np.zeros(0, np.float32), picture),
             LabelledPicture("town", picture, none, np.zeros(0, np.float32))]
    text = saliency_section(SaliencyTraining(forget=0.25), items, ["night", "b"], ["one", "two on parts"], "Made up.\n",
                            work)
    return "\n\n".join(part if part.startswith(("|", "#")) else " ".join(part.split()) for part in text.split("\n\n"))


def test_a_section_on_saliency_tells_data_detectors_and_curve(tmp_path: Path) -> None:
    (tmp_path / "saliency.jsonl").write_text(json.dumps({"step": 9, "minutes": 1.5, "final": True, "cover_98": 0.3}))
    text = section(tmp_path)
    assert "boxes that detectors found: one; two on parts." in text and '"forget": 0.25' in text
    assert "3 pictures of 2 sources (town 1, yard.mp4 2), with 1 sure objects" in text
    assert "background of 1 sources is known, and shown to the network in 75%" in text
    assert "Held back: b, night." in text and "Made up." in text
    assert "| step | minutes | cover_98 |\n|-|-|-|\n| 9 | 1.5 | 0.3 |\n" in text


def test_a_section_on_restoration_tells_clips_losses_and_curve(tmp_path: Path) -> None:
    (tmp_path / "restoration.jsonl").write_text(json.dumps({"step": 7, "minutes": 2.5, "final": True, "wpsnr": 31.0}))
    frames = [av.VideoFrame(16, 16, "yuv420p")] * 3
    scenes = [Scene("yard", Fraction(10), frames), Scene("yard", Fraction(10), frames), Scene("town", Fraction(25), [])]
    text = " ".join(restoration_section(RestorationTraining(qualities=(0, 9)), scenes, [Scene("road", Fraction(5), [])],
                                        ["one", "two"], "s", "Made up.\n", tmp_path).split())
    assert text.startswith("## The restoration network") and '"qualities": [0, 9]' in text
    assert "answers of one and two on restored" in text and "saliency network of profile s" in text
    assert "3 scenes of 2 videos (town 1, yard 2), of 6 frames. Held back: road. Made up." in text
    assert "| 7 | 2.5 | 31.0 |" in text


def test_a_section_goes_to_the_end_of_a_card_and_later_in_place_of_itself() -> None:
    card = put_section("# Card\n\n## One\nfirst\n", "## Two\nsecond")
    assert card == "# Card\n\n## One\nfirst\n\n## Two\nsecond\n"
    assert put_section(card, "## Two\nnew\n\n| a \\1 |\n") == "# Card\n\n## One\nfirst\n\n## Two\nnew\n\n| a \\1 |\n"
    assert put_section(card, "## One\n### inner\nnew") == "# Card\n\n## One\n### inner\nnew\n\n## Two\nsecond\n"
    assert put_section("", "## One\n") == "## One\n"
    with pytest.raises(ValueError, match="expected a line '## title'"):
        put_section(card, "Two")
