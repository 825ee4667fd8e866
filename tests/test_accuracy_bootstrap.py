"""Intervals of BD-rates in `bench accuracy`: draws, accuracy and bytes of a draw, coders drawn alike, and files."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from duoview.detections import Detections

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
average = BENCH.module("bench.average_precision")
bootstrap = BENCH.module("bench.accuracy.bootstrap")
command = BENCH.module("bench.accuracy.command")
comparison = BENCH.module("bench.accuracy.comparison")
curve = BENCH.module("bench.accuracy.curve")
detection = BENCH.module("bench.accuracy.detection")
segmentation = BENCH.module("bench.accuracy.segmentation")
table = BENCH.module("bench.accuracy.table")
tally = BENCH.module("bench.accuracy.tally")

FRAMES = 12
NAMES = ("person", "vehicle")


def scenes(seed: int) -> tuple[list[Any], list[Any]]:
    """Detections in coded frames, some moved, lost or made up, and in the source; no two of one score."""
    random = np.random.default_rng(seed)
    scores = iter(random.permutation(np.linspace(0.05, 0.95, 500)).tolist())
    coded, source = [], []
    for _ in range(FRAMES):
        boxes = [(100.0 * k, 0.0, 100.0 * k + 50, 50.0) for k in range(4)]
        kinds = random.integers(2, size=4)
        source.append(Detections(np.array(boxes, np.float32), np.full(4, 0.9, np.float32), kinds.astype(np.int32),
                                 NAMES, "m", 1000, 100))
        moved = np.array([(x + shift, y, a + shift, b) for (x, y, a, b), shift in
                          zip(boxes, random.choice([0, 4, 8, 80], 4), strict=True)], np.float32)
        coded.append(Detections(moved, np.array([next(scores) for _ in boxes], np.float32), kinds.astype(np.int32),
                                NAMES, "m", 1000, 100).keep(random.random(4) < 0.8))
    return coded, source


def written_down(items: Sequence[Any], weights: Sequence[int]) -> list[Any]:
    return [item for item, times in zip(items, weights, strict=True) for _ in range(times)]


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_of_a_draw_is_that_of_its_frames_written_down(seed: int) -> None:
    coded, source = scenes(seed)
    truth = [average.reference_of(item, above=0.45) for item in source]
    _, made = detection.judged(coded, source, truth)
    draws = bootstrap.weights("clip", FRAMES, 1, 20)
    for metric in ("ap50", "ap75", "ap50_95", "real_ap75"):
        found = made.values(metric, draws)
        for number, weights in enumerate(draws):
            again = detection.judged(*(written_down(part, weights) for part in (coded, source, truth)))[0]
            assert found[number] == pytest.approx(again.value(metric))


def test_a_draw_with_few_objects_of_a_kind_goes_without_that_kind() -> None:
    coded, source = scenes(1)
    _, made = detection.judged(coded, source, None)
    only_first = np.zeros((1, FRAMES), np.int32)
    only_first[0, 0] = 1  # four objects of both kinds together
    assert np.isnan(made.values("ap75", only_first)).all()
    assert made.values("hota", only_first) is None and made.values("top1", only_first) is None


def test_segmentation_and_means_of_a_draw_are_those_of_its_frames_written_down() -> None:
    random = np.random.default_rng(3)
    found, source = (list(random.integers(3, size=(FRAMES, 8, 8)).astype(np.uint8)) for _ in range(2))
    draws = bootstrap.weights("clip", FRAMES, 1, 20)
    overlaps = segmentation.overlaps(found, source).values("miou", draws)
    rows = random.random(FRAMES)
    means = tally.MeanTally({"top1": rows}).values("top1", draws)
    for number, weights in enumerate(draws):
        again = segmentation.overlaps(*(written_down(part, weights) for part in (found, source)))
        assert overlaps[number] == pytest.approx(again.value("miou", FRAMES))
        assert means[number] == pytest.approx(np.mean(written_down(rows.tolist(), weights)))
    assert tally.MeanTally({"landmarks": rows - 5}).values("landmarks", draws).tolist() == [0] * 20


def test_many_bd_rates_at_once_are_those_of_the_curves_one_by_one() -> None:
    random = np.random.default_rng(2)
    rates, accuracies = (random.choice(values, size=(2, 300, 7)) for values in (
        np.linspace(50.0, 900.0, 60), np.linspace(0.4, 0.9, 40)))
    accuracies[0, :20] *= 0.3  # out of the other's reach
    accuracies[1, 20:25] = np.nan  # nothing to judge by
    rates[1, 25:30, 1:] = rates[1, 25:30, :1]  # of one rate
    found = curve.differences(*(curve.Envelopes(rates[side], accuracies[side]) for side in (0, 1)))
    assert np.isnan(found[:30]).all() and not np.isnan(found).all()
    for row in range(300):
        curves = [curve.Curve([] if np.isnan(accuracies[side, row]).any() else [
            curve.Point(*pair) for pair in zip(rates[side, row], accuracies[side, row], strict=True)])
            for side in (0, 1)]
        one = curve.difference(*curves).log
        assert found[row] == (pytest.approx(one) if one is not None else pytest.approx(np.nan, nan_ok=True)), row


def test_every_draw_has_as_many_frames_as_the_clip_and_is_the_same_next_time() -> None:
    drawn = bootstrap.weights("clip", 50, 1, 400)
    assert drawn.shape == (400, 50) and set(drawn.sum(axis=1)) == {50}
    assert np.array_equal(drawn, bootstrap.weights("clip", 50, 1, 400))
    assert not np.array_equal(drawn, bootstrap.weights("other", 50, 1, 400))
    # Of single pictures the mean scatters by sigma / sqrt(n), as it must for a sample of independent ones.
    values = np.random.default_rng(0).random(50)
    assert np.std(drawn @ values / 50) == pytest.approx(values.std() / np.sqrt(50), rel=0.1)


def test_frames_of_a_clip_are_drawn_in_runs_that_go_over_its_end() -> None:
    drawn = bootstrap.weights("clip", 50, 20, 400)
    assert set(drawn.sum(axis=1)) == {50}
    # Two whole runs and half of one: where the count changes, one begins or ends.
    changes = (np.diff(drawn, axis=1, append=drawn[:, :1]) != 0).sum(axis=1)
    assert changes.max() <= 6 and np.median(changes) > 2
    assert drawn[:, 0].mean() == pytest.approx(1, abs=0.15)  # the ends are drawn as often as the middle
    slow = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0], 10)  # ten frames are one observation: less is known than of 50
    single = bootstrap.weights("clip", 50, 1, 400)
    assert np.std(drawn @ slow) > 1.3 * np.std(single @ slow)


def point(kept: Any, verdict: Any, sizes: Any, rows: Any, block: int = 1) -> None:
    kept.keep(verdict, tally.Point(sizes, block, tally.MeanTally({"top1": rows})))


def curves(kept: Any, factor: float, *, frames: int = 40, block: int = 1) -> Any:
    """Two coders that err in the same pictures, the second at `factor` times the bytes of each, +- 1 % by chance."""
    random = np.random.default_rng(5)
    hard, metric = random.permutation(frames), BENCH.module("bench.accuracy.metric")
    verdicts = []
    for base, times in (("x265-medium", 1.0), ("neural", factor)):
        for step in range(8):
            rows = (hard < frames * (step + 2) / 10).astype(np.float64)
            sizes = times * 1.4**step * (100 + hard) * random.uniform(0.99, 1.01, frames)
            made = BENCH.verdict(base=base, quality=step, bytes=int(sizes.sum()), frames=frames, task="classification",
                                 judge="squeezenet", accuracy=metric.Accuracy(top1=float(rows.mean())))
            point(kept, made, sizes, rows, block)
            verdicts.append(made)
    return comparison.Verdicts(verdicts)


def test_what_is_hard_for_both_coders_alike_makes_nothing_uncertain(tmp_path: Path) -> None:
    kept = tally.Tallies(tmp_path)
    looked = curves(kept, 0.5)
    draws = bootstrap.Bootstrap(kept, 300)
    (entry,) = comparison.compare(looked, "x265-medium", "top1", draws)
    assert entry.percent == pytest.approx(-50, abs=1)
    assert -51.5 < entry.interval.low90 < entry.percent < entry.interval.high90 < -48.5
    assert (entry.interval.draws, entry.interval.undefined, entry.interval.reason) == (300, 0, "")
    (mean,) = comparison.means([entry], looked, draws)
    assert mean.interval == entry.interval
    assert comparison.compare(looked, "x265-medium", "top1")[0].interval is None
    shown = table.comparisons([entry]).markdown()
    assert f"{entry.interval.low90:+.1f} to {entry.interval.high90:+.1f} %" in shown and "300 draws" in shown


def test_where_pictures_decide_the_interval_is_wide_and_what_has_no_figure_is_counted(tmp_path: Path) -> None:
    kept = tally.Tallies(tmp_path)
    looked = curves(kept, 0.5, frames=6)
    (entry,) = comparison.compare(looked, "x265-medium", "top1", bootstrap.Bootstrap(kept, 300))
    # Six pictures of one size and hardness each are drawn with others: some draws hold only one kind of them.
    assert 0 < entry.interval.undefined < 300
    assert f"({entry.interval.undefined} of 300 without)" in table.comparisons([entry]).rows[0][7]


def test_there_is_no_interval_without_what_was_seen_frame_by_frame_and_it_says_why(tmp_path: Path) -> None:
    kept = tally.Tallies(tmp_path)
    looked = curves(kept, 0.5)
    for file in tmp_path.iterdir():
        file.unlink()
    (entry,) = comparison.compare(looked, "x265-medium", "top1", bootstrap.Bootstrap(kept, 10))
    assert entry.percent is not None and entry.interval.low90 is None
    assert "was judged before verdicts were kept frame by frame" in entry.interval.reason
    shown = table.comparisons([entry])
    assert shown.rows[0][7] == "none" and shown.note.endswith(f" No interval where {entry.interval.reason}.")
    assert "draws" not in shown.note  # none was made


def test_a_clip_of_less_than_three_runs_has_no_interval(tmp_path: Path) -> None:
    kept = tally.Tallies(tmp_path)
    (entry,) = comparison.compare(curves(kept, 0.5, block=20), "x265-medium", "top1", bootstrap.Bootstrap(kept, 10))
    assert entry.interval.reason == "40 frames; 3 blocks of 20 are needed" and entry.interval.high90 is None


def test_accuracy_that_does_not_come_from_single_frames_has_no_interval(tmp_path: Path) -> None:
    kept, metric = tally.Tallies(tmp_path), BENCH.module("bench.accuracy.metric")
    verdicts = [BENCH.verdict(base=base, quality=step, bytes=1000 * 2**step,
                              accuracy=metric.Accuracy(hota=0.3 + step / 20))
                for base in ("x265-medium", "neural") for step in range(8)]
    for item in verdicts:
        kept.keep(item, tally.Point(np.full(10, 1.0), 1, tally.PrecisionTally({}, {})))
    (entry,) = comparison.compare(comparison.Verdicts(verdicts), "x265-medium", "hota", bootstrap.Bootstrap(kept, 10))
    assert entry.percent == pytest.approx(0) and entry.interval.reason == "HOTA does not come from frames one by one"


def test_points_come_back_from_their_files_as_they_were(tmp_path: Path) -> None:
    coded, source = scenes(7)
    _, precision = detection.judged(coded, source, [average.reference_of(item, above=0.45) for item in source])
    labels = list(np.random.default_rng(3).integers(3, size=(FRAMES, 8, 8)).astype(np.uint8))
    kept, draws = tally.Tallies(tmp_path), bootstrap.weights("clip", FRAMES, 1, 5)
    for task, metric, item in (("detection", "real_ap50", precision),
                               ("segmentation", "miou", segmentation.overlaps(labels, labels[::-1])),
                               ("landmarks", "landmarks", tally.MeanTally({"landmarks": np.arange(FRAMES) / 20}))):
        made = BENCH.verdict(task=task, judge=task, frames=FRAMES)
        kept.keep(made, tally.Point(np.arange(FRAMES) / 3, 4, item))
        back = kept.of(made)
        assert back.block == 4 and np.array_equal(back.bytes, np.arange(FRAMES) / 3)
        assert np.array_equal(back.tally.values(metric, draws), item.values(metric, draws))
        assert kept.of(BENCH.verdict(task=task, judge=task, frames=FRAMES, quality=31)) is None


def test_a_damaged_or_foreign_file_of_a_point_is_named(tmp_path: Path) -> None:
    kept, made = tally.Tallies(tmp_path), BENCH.verdict(task="classification")
    point(kept, made, np.ones(9), np.ones(9))
    (path,) = tmp_path.iterdir()
    with pytest.raises(tally.UnreadablePointError, match="9 frames, the verdict is on 10; move the ledger"):
        kept.of(made)
    whole = path.read_bytes()
    wrong = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:] for at in range(60, 75)]  # what is compressed too
    for content in (whole[:100], *wrong):
        path.write_bytes(content)
        with pytest.raises(tally.UnreadablePointError, match=rf"{path.name}: no verdict of this program"):
            kept.of(made)


def strongest_colour(folder: Path) -> Path:
    """A judge whose class is the strongest of red, green and blue in the mean of a picture."""
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])
    sink = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3])
    FILES.write(folder / "mean.onnx", [helper.make_node("ReduceMean", ["picture"], ["out"], axes=[2, 3], keepdims=0)],
                [source], [sink], [])
    path = folder / "mean.toml"
    path.write_text("\n".join(['task = "classification"', 'network = "mean.onnx"', "[input]", "width = 16",
                               "height = 16", 'colour = "rgb"']))
    return path


def test_a_run_gives_intervals_and_the_next_one_gives_the_same_without_looking_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nearly").mkdir()
    random = np.random.default_rng(1)
    for number in range(12):
        # A little more red than green, or the other way round: the coarser it is coded, the more is lost of that.
        colour = np.array([120 + 2 * number - 12, 120, 100])
        picture = np.clip(colour + random.integers(-25, 26, (48, 64, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "nearly" / f"{number}.png")
    arguments = ["--stills", str(tmp_path / "nearly"), "--judges", str(strongest_colour(tmp_path)), "--codecs", "jpeg",
                 "x265-medium", "--points", "6", "--more", "0", "--below", "--count", "packets", "--bytes", "60",
                 "1500", "--no-pictures", "--draws", "50", "--out", str(tmp_path / "out")]
    assert command.main(arguments) == 0
    out = tmp_path / "out"
    first = json.loads((out / "accuracy.json").read_text())
    assert first["settings"]["draws"] == 50 and len(list((out / "points").iterdir())) == 12
    assert any(item["percent"] is not None for item in first["results"]["comparisons"])
    for item in first["results"]["comparisons"]:
        assert (item["interval"] is None) == (item["percent"] is None)
    assert "90 % interval" in (out / "report.md").read_text() and "90 % interval" in (out / "index.html").read_text()
    monkeypatch.setattr(BENCH.module("bench.accuracy.codec").Codec, "code", None)
    monkeypatch.setattr(BENCH.module("bench.accuracy.classification").ClassificationJudge, "look", None)
    assert command.main(arguments) == 0
    assert json.loads((out / "accuracy.json").read_text())["results"] == first["results"]
    with pytest.raises(SystemExit):
        command.main([*arguments, "--draws", "-1"])
    assert "--draws -1: expected 0 or more" in capsys.readouterr().err
