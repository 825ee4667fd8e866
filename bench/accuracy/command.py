"""The command line: how well detectors see through codecs, by real bytes.

    python -m bench.accuracy --clips FOLDER --weights FOLDER [--codecs ...] [--fps 10] [--out out/accuracy]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.accuracy import clip as clips
from bench.accuracy import comparison, gallery, table
from bench.accuracy.bootstrap import Bootstrap
from bench.accuracy.codec import COUNTS, KEYS, LATENCIES, Codec, Setup, Variant
from bench.accuracy.codecs import ANCHOR, CODECS, USUAL, make
from bench.accuracy.comparison import Entry, Mean, Verdicts
from bench.accuracy.curve import LEAST_POINTS
from bench.accuracy.detection import ABOVE
from bench.accuracy.judge import Judge, SourceFindings
from bench.accuracy.judges import NETWORKS, open_named
from bench.accuracy.kept import Kept, kept
from bench.accuracy.ledger import Ledger, Verdict
from bench.accuracy.metric import METRICS
from bench.accuracy.page import page
from bench.accuracy.plot import draw
from bench.accuracy.sweep import SOURCE, Span, Sweep
from bench.accuracy.tally import Tallies, UnreadablePointError
from bench.accuracy.within import Best, best_within
from bench.judges import FLOOR, JUDGES
from bench.machine import Machine
from bench.result import measured, write
from duoview import Profile
from duoview.errors import Error

TITLE = "Accuracy of networks on coded clips"
WHAT = {"file": f"{TITLE}; bytes of whole NUT files",
        "packets": f"{TITLE}; bytes of packets and parameter sets, without the container"}


@dataclass(frozen=True)
class Settings:
    """What was asked for. above, floor: scores from which objects are to be found again, and detections are taken.
    draws: of the bootstrap, 0 for none."""

    clips: tuple[str, ...]
    fps: tuple[str, ...]
    width: int
    frames: int | None
    codecs: tuple[str, ...]
    judges: tuple[str, ...]
    anchor: str
    metrics: tuple[str, ...]
    tracking: bool
    span: Span
    threads: int
    above: float = ABOVE
    floor: float = FLOOR
    count: str = COUNTS[0]
    draws: int = 0


@dataclass(frozen=True)
class Results:
    """Mean BD-rates, the best within so many bytes, what keeps the source's accuracy, every BD-rate and point."""

    means: tuple[Mean, ...]
    within: tuple[Best, ...]
    kept: tuple[Kept, ...]
    comparisons: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="duoview bench accuracy", description=(__doc__ or "").splitlines()[0])
    made.add_argument("--clips", nargs="+", type=Path, default=(), metavar="PLACE",
                      help="folders of clips, or clips; NAME.gt.txt beside one is its ground truth (MOT15)")
    made.add_argument("--stills", nargs="+", type=Path, default=(), metavar="FOLDER",
                      help="folders of pictures; those of one are coded one by one and judged together")
    made.add_argument("--weights", nargs="+", type=Path, default=(), metavar="FOLDER",
                      help="folders of the judges' networks")
    made.add_argument("--codecs", nargs="+", choices=tuple(CODECS), default=USUAL, metavar="NAME",
                      help=f"of {', '.join(CODECS)}; when not given {', '.join(USUAL)}")
    made.add_argument("--learned", type=Path, metavar="FOLDER", help="of the networks of the codec hyperprior")
    made.add_argument("--judges", nargs="+", default=tuple(JUDGES), metavar="NAME",
                      help=f"of {', '.join((*JUDGES, *NETWORKS))}; files of other detectors, which do not decide; or "
                           ".toml files of networks of other tasks")
    made.add_argument("--tracking", action="store_true", help="HOTA of the detectors' tracks too")
    made.add_argument("--fps", nargs="+", default=("10",), metavar="RATE", help="5, 10, any number, or full")
    made.add_argument("--width", type=int, default=clips.WIDTH, help="of the clips; 0 keeps their own")
    made.add_argument("--frames", type=int, help="of every clip, or pictures of every folder, at most")
    made.add_argument("--keys", nargs="+", choices=KEYS[:2], default=("2s",), help="key frames every 2 s, or once only")
    made.add_argument("--latency", nargs="+", choices=LATENCIES, default=("full",), help="lookahead of the peers")
    made.add_argument("--scales", nargs="+", type=float, default=(1.0,), metavar="S",
                      help="sides of the peers' pictures before coding, such as 1 .75 .5; brought back bicubic")
    made.add_argument("--bytes", nargs=2, type=float, default=(80.0, 1500.0), metavar=("LOW", "HIGH"),
                      help="bytes a frame that the points span")
    made.add_argument("--bpp", nargs=2, type=float, metavar=("LOW", "HIGH"),
                      help="bits a pixel that the points span, in place of --bytes; such as .02 .3 for pictures")
    made.add_argument("--count", choices=COUNTS, default=COUNTS[0],
                      help="bytes of the whole file, or of packets and parameter sets without the container")
    made.add_argument("--points", type=int, default=8, help=f"of every coder, {LEAST_POINTS} or more")
    made.add_argument("--more", type=int, default=4,
                      help="further points of every coder at most, where accuracy changes most")
    made.add_argument("--below", nargs="*", type=float, default=(150.0,), metavar="BYTES",
                      help="bytes a frame within which everybody's best setting is looked for")
    made.add_argument("--at", nargs="+", type=float, default=(100.0, 150.0, 200.0, 400.0, 800.0), metavar="BYTES",
                      help="bytes a frame of the table of accuracies")
    made.add_argument("--anchor", choices=tuple(CODECS), default=ANCHOR, help="who all are compared with")
    made.add_argument("--metric", nargs="+", choices=tuple(METRICS), default=("ap75", "real_ap50", "real_ap75"),
                      metavar="NAME",
                      help=f"of {', '.join(METRICS)}: what coders are compared by; tracks and judges of other tasks by "
                           "their own beside it")
    made.add_argument("--draws", type=int, default=1000,
                      help="of pictures, or of runs of frames, for the intervals of BD-rates; 0 leaves intervals out")
    made.add_argument("--profile", default="s", help="bundled name or folder")
    made.add_argument("--threads", type=int, default=1, help="of coders and judges")
    made.add_argument("--out", type=Path, default=Path("out/accuracy"), help="folder of all results")
    made.add_argument("--json", type=Path, help="of the results; OUT/accuracy.json when not given")
    made.add_argument("--no-pictures", action="store_true", help="a report page without pictures")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write everything."""
    made = parser()
    options = made.parse_args(arguments)
    try:
        for name, value, least in (("points", options.points, LEAST_POINTS), ("threads", options.threads, 1),
                                   ("frames", 1 if options.frames is None else options.frames, 1),
                                   ("width", options.width, 0), ("more", options.more, 0),
                                   ("draws", options.draws, 0)):
            if value < least:
                raise ValueError(f"--{name} {value}: expected {least} or more")
        low, high = options.bpp or options.bytes
        if not 0 < low < high:
            raise ValueError(f"--{'bpp' if options.bpp else 'bytes'} {low:g} {high:g}: expected two rising numbers "
                             "above 0")
        if not all(limit > 0 for limit in options.below):
            raise ValueError(f"--below {' '.join(f'{limit:g}' for limit in options.below)}: expected numbers above 0")
        rates = [clips.rate_of(text) for text in options.fps]
        paths = clips.find(options.clips)
        if not paths and not options.stills:
            raise ValueError("--clips or --stills: one of them is needed")
        pictured = [clips.load_pictures(folder, width=options.width, limit=1).name for folder in options.stills]
        if len(set(pictured)) < len(pictured):
            raise ValueError("--stills: folders of the same name; results are kept by name")
        profile = Profile(options.profile)
        variants = [Variant(key, latency, scale) for key in options.keys for latency in options.latency
                    for scale in options.scales]
        codecs = make(options.codecs, variants, Setup(options.profile, options.threads, options.learned,
                                                         options.count))
        judges = [open_named(name, options.weights, threads=options.threads, tracking=options.tracking)
                  for name in options.judges]
        if len({judge.name for judge in judges}) < len(judges):
            raise ValueError("--judges: two of the same name; results are kept by name")
    except (ValueError, FileNotFoundError, ModuleNotFoundError, Error) as error:
        made.error(str(error))
    span = Span(low, high, options.points, tuple(options.below), options.more, per_pixel=bool(options.bpp))
    out: Path = options.out
    findings, tallies = SourceFindings(out / "source"), Tallies(out / "points")
    verdicts: list[Verdict] = []
    pictures: dict[str, list[gallery.Shot]] = {}
    try:
        ledger = Ledger(out / "ledger.jsonl")
    except (ValueError, OSError) as error:
        print(f"{made.prog}: {error}", file=sys.stderr)
        return 1
    with ledger:
        sweep = Sweep(codecs, judges, span, ledger, findings, tallies, say=_say)
        for load in _loads(paths, rates, options.stills, options.width, options.frames):
            clip = load()
            if any(item.clip_sha256 == clip.sha256 for item in verdicts):
                continue  # a clip slower than two of the rates
            seen = sweep.run(clip)
            verdicts += seen
            if not options.no_pictures and any(item.codec != SOURCE for item in seen):
                low, high = span.ends(clip)
                pictures[clip.name] = _shots(clip, codecs, Verdicts(seen), judges, findings, options.anchor,
                                             (low * high) ** 0.5)
    settings = Settings(
        tuple(path.name for path in (*paths, *options.stills)), tuple(options.fps), options.width, options.frames,
        tuple(codec.label for codec in codecs), tuple(judge.name for judge in judges), options.anchor,
        tuple(options.metric), options.tracking, span, options.threads, count=options.count, draws=options.draws)
    bootstrap = Bootstrap(tallies, options.draws) if options.draws else None
    try:
        report(verdicts, settings, profile, out, options.json or out / "accuracy.json", pictures, options.at, bootstrap)
    except UnreadablePointError as error:
        print(f"{made.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def report(verdicts: Sequence[Verdict], settings: Settings, profile: Profile, out: Path, json_path: Path,
           pictures: dict[str, list[gallery.Shot]], rates: Sequence[float], bootstrap: Bootstrap | None) -> None:
    """Write accuracy.json, report.md, plots and index.html. bootstrap: gives intervals."""
    looked = Verdicts(verdicts)
    metrics = comparison.reported(looked, settings.metrics)
    entries = [entry for metric in metrics
               for entry in comparison.compare(looked, settings.anchor, metric, bootstrap)]
    averages = comparison.means(entries, looked, bootstrap)
    best = [best_within(looked, limit, metric) for metric in metrics for limit in settings.span.below]
    keep = [kept(looked, settings.anchor, metric) for metric in metrics]
    result = measured(WHAT[settings.count], profile, settings, Results(
        tuple(averages), tuple(item for group in best for item in group),
        tuple(item for group in keep for item in group), tuple(entries), tuple(verdicts)))
    write(json_path, result)
    remarks: list[str] = []
    plots: dict[str, bytes] = {}
    if find_spec("matplotlib") is None:
        remarks.append("No plots: matplotlib is not installed (extra bench).")
    else:
        plots = {name: draw(looked, name, metrics) for name in looked.clips}
    for name, data in plots.items():
        _write(out / "plots" / f"{name}.png", data)
    short = [table.summary(averages, looked), *(table.within(group) for group in best if group),
             *(table.kept(group) for group in keep if group),
             *(table.at_rates(looked, rates, metric) for metric in metrics)]
    tables = [*short, table.comparisons(entries), table.skipped(looked), table.points(looked)]
    where = _where(result.machine, profile, result.date)
    text = "\n".join([f"# {TITLE}", "", *[part for remark in remarks for part in (remark, "")],
                      *(item.markdown() for item in tables), where, ""])
    _write(out / "report.md", text.encode())
    _write(out / "index.html", page(TITLE, where, tables, plots, pictures, remarks).encode())
    print()
    for item in short:
        print(item.markdown())


def _loads(paths: Sequence[Path], rates: Sequence[Fraction | None], stills: Sequence[Path], width: int,
           limit: int | None) -> Iterator[Callable[[], clips.Clip]]:
    """What reads each clip at each rate, then each folder of pictures."""
    for path in paths:
        for rate in rates:
            yield partial(clips.load, path, rate=rate, width=width, limit=limit)
    for folder in stills:
        yield partial(clips.load_pictures, folder, width=width, limit=limit)


def _shots(clip: clips.Clip, codecs: Sequence[Codec], verdicts: Verdicts, judges: Sequence[Judge[Any]],
           findings: SourceFindings, anchor: str, rate: float) -> list[gallery.Shot]:
    judge = next(judge for judge in judges if judge.name in verdicts.deciding(judges[0].headline))
    return gallery.shots(clip, codecs, verdicts, judge, findings, anchor=anchor, rate=rate)


def _where(machine: Machine, profile: Profile, date: str) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in asdict(machine.versions).items())
    load = ", ".join(map(str, machine.load_average))
    return (f"{date}; {machine.cpu}, {machine.cores} cores, load average {load}; {versions}; "
            f"profile {profile.name} {profile.sha256.hex()[:12]}; commit {machine.commit or 'unknown'}.")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)
    print(f"wrote {path}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
