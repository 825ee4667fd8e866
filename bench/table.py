"""Writes the measured numbers of bench/results into docs/measurements.md and into README.md's table.

    python -m bench.table

Nothing is measured here, and nothing that has no result file is written: a missing measurement says so.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.result import RESULTS

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
#: What we set out to reach, beside what was measured.
TARGETS = {
    "stills": "at most 1 dB below", "ceiling": "at least 33 dB", "still_scene": "at most 10 %",
    "entering": "there in its first frame", "long": "no growth", "speed": "at least 15 fps",
    "corruption": "no crash, no hang, resumes", "anchor": "at most -15 %", "best peer": "at most -10 %",
    "views": "at most x0.75",
}


@dataclass(frozen=True)
class Row:
    """A line of the README's table."""

    what: str
    target: str
    measured: str


def load(name: str) -> dict[str, Any] | None:
    """A result file, or None when that was not measured."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def provenance(result: dict[str, Any]) -> str:
    """Where and with what a result was measured."""
    machine = result["machine"]
    load_1, load_5, _ = machine["load_average"]
    manifest = ROOT / "codec" / "profiles" / result["profile"] / "profile.json"
    bundled = hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else ""
    since = f" (the bundled one is {bundled[:12]} now)" if bundled not in ("", result["profile_sha256"]) else ""
    return (f"{result['date'][:16]} UTC, {machine['cpu']}, {machine['cores']} cores, load average {load_1} (1 min), "
            f"{load_5} (5 min); onnxruntime {machine['versions']['onnxruntime']}, PyAV {machine['versions']['av']} "
            f"(FFmpeg {machine['versions']['ffmpeg']}); profile {result['profile']} "
            f"{result['profile_sha256'][:12]}{since}, "
            f"commit {machine['commit'][:12]}{'+' if machine['commit'].endswith('+') else ''}.")


def grid(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    return [lines[0], "|" + "-|" * len(header), *lines[1:]]


def stills(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Rate-distortion of key frames."""
    coders, count = result["results"]["coders"], len(result["settings"]["pictures"])
    header = ["RGB PSNR, dB (against the anchor)", *(f"{rate['bpp']:g} bpp" for rate in coders[0]["rates"]), "BD-rate"]
    rows = []
    for coder in coders:
        cells = []
        for rate in coder["rates"]:
            few = f", {rate['pictures']} pictures" if rate["pictures"] < count else ""
            cells.append("none" if rate["psnr"] is None else f"{rate['psnr']:.2f} ({rate['difference']:+.2f}{few})")
        saved = coder["bd_rate"]
        rows.append([coder["name"], *cells, "none" if saved is None else f"{saved:+.1f} %"])
    own = next(coder for coder in coders if coder["name"] == "duoview")
    reached = [rate for rate in own["rates"] if rate["difference"] is not None]
    worst = min(reached, key=lambda rate: rate["difference"])
    names, anchor = ", ".join(result["settings"]["pictures"]), result["settings"]["anchor"]
    text = [f"{count} pictures ({names}); anchor: {anchor}. Mean over the pictures where both coders reach the rate; "
            "their number stands there when it is not all. All bytes count: access unit with its headers, HEVC with "
            "parameter sets, whole JPEG file.", "", *grid(header, rows), "",
            f"Mean difference over these rates: {own['mean_difference']:+.2f} dB; the worst single picture at "
            f"{worst['bpp']:g} bpp: {worst['worst']:+.2f} dB."]
    measured = f"{own['mean_difference']:+.2f} dB on average, {worst['difference']:+.2f} dB at {worst['bpp']:g} bpp"
    last = own["rates"][-1]
    if last["pictures"] < count:
        measured += f"; the highest q reaches {last['bpp']:g} bpp on {last['pictures']} of {count} pictures only"
    return text, [Row(f"Key frames against x265 medium still pictures, 0.1 to 0.5 bpp, {count} pictures, RGB PSNR",
                      TARGETS["stills"], measured)]


def ceiling(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """The ceiling."""
    mean, worst = result["results"]["mean"], result["results"]["worst"]
    count = len(result["settings"]["pictures"])
    near = result["results"].get("perceptual")
    text = [f"D(E(x)) without quantiser and coder, {count} pictures: {mean:.2f} dB on average, {worst:.2f} at worst"
            + (f"; perceptual distance {near:.3f}." if near is not None else ".")]
    return text, [Row(f"D(E(x)), ceiling of every view, {count} pictures, RGB PSNR", TARGETS["ceiling"],
                      f"{mean:.2f} dB on average, {worst:.2f} at worst")]


def views(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Views for people beside the machine view and other coders."""
    summary, settings = result["results"]["summary"], result["settings"]
    rows, lines = [], []
    for one in summary:
        kid, share, objects = one["patches"]["kid"], one["patches"]["against"], one["objects"]
        against = f" (x{share['value']:.2f}, {share['low']:.2f} to {share['high']:.2f})" if share is not None else ""
        seen = f"{objects['kept']} of {objects['source']}, {objects['invented']} invented" if objects else "no detector"
        rows.append([f"`{one['view']}`", f"{one['bytes_per_frame']:.0f}", f"{one['psnr']:.2f}",
                     f"{one['low_frequency_psnr']:.2f}", f"{kid['value']:.3f}{against}",
                     f"{one['perceptual']:.2f} ({_times(one['perceptual_share'])})",
                     f"{one['structure']:.3f} ({_times(one['structure_share'])})", _times(one["flicker_share"]), seen,
                     f"{1000 * one['seconds']:.1f}"])
        if one["view"] == "human:start=guided:steps=4" and share is not None:
            lines.append(Row("Human view `guided`, 4 steps, zero bits: KID and perceptual distance as shares of the "
                             "machine view's", TARGETS["views"],
                             f"KID x{share['value']:.2f}, perceptual {_times(one['perceptual_share'])}"))
    header = ["view", "bytes a frame", "PSNR, dB", "low frequencies, dB", "KID (of the machine view's, 95 %)",
              "perceptual", "structure", "flicker of the source's", "objects kept", "CPU ms a frame"]
    text = [f"{len(settings['clips'])} clips ({', '.join(settings['clips'])}), {settings['frames']} frames of each, "
            f"{settings['machine']} machine layer at q {settings['q']}; medians of clips, KID and objects of all "
            "together. What is counted, and how: [views.md](views.md).", "", *grid(header, rows)]
    return text, lines


def over_time(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Still scene, entering object, long runs."""
    still, entering = result["results"]["still"], result["results"]["entering"]
    q, runs = result["settings"]["q"], result["results"]["long_runs"]
    text = [
        f"q {q}; camera noise of sigma {result['settings']['sigma']:g} in every frame.", "",
        f"* Still scene ({result['settings']['still_picture']}): key frame {still['key_bytes']} bytes; P frames "
        f"{still['mean_share']:.1%} of that on average, {still['worst_share']:.1%} at worst. Against the clean picture "
        f"{still['key_psnr']:.2f} dB in the key frame, {still['last_psnr']:.2f} dB in P frame {len(still['p_bytes'])}.",
        f"* Entering object, its region only: {entering['missing']:.2f} dB if the view had not moved, "
        f"{entering['psnr'][0]:.2f} dB in its first frame, {entering['psnr'][1]:.2f} in the second, "
        f"{entering['eventual']:.2f} eventually; its first frame cost {entering['unit_bytes'][0]} bytes.", "",
        *grid(["P frames without a key frame", "q", "frames", "bytes a frame, first window", "last",
               "PSNR, first window", "last"],
              [[run["scene"], str(run["q"]), str(run["frames"]), f"{run['window_bytes'][0]:.0f}",
                f"{run['window_bytes'][-1]:.0f} ({run['rate_growth']:+.1%})", f"{run['window_psnr'][0]:.2f} dB",
                f"{run['window_psnr'][-1]:.2f} dB ({run['psnr_change']:+.2f})"] for run in runs])]
    growth = "; ".join(f"{run['scene']} (q {run['q']}): rate {run['rate_growth']:+.1%}, {run['psnr_change']:+.2f} dB"
                       for run in runs)
    return text, [
        Row(f"Still scene with camera noise at q {q}: a P frame against its key frame", TARGETS["still_scene"],
            f"{still['mean_share']:.1%} on average, {still['worst_share']:.1%} at worst"),
        Row("Object that enters: PSNR of its region, first frame and eventually", TARGETS["entering"],
            f"{entering['psnr'][0]:.2f} dB and {entering['eventual']:.2f} dB"),
        Row(f"{runs[0]['frames']} P frames without a key frame", TARGETS["long"], growth)]


def speed(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Frames per second."""
    rates, settings = result["results"]["rates"], result["settings"]
    rows = [[rate["what"], str(rate["threads"]), f"{rate['fps']:.1f}",
             f"{rate['fps_range'][0]:.1f} to {rate['fps_range'][1]:.1f}",
             ", ".join(f"{stage['name']} {stage['share']:.0%}" for stage in rate["stages"][:5])] for rate in rates]
    text = [f"{settings['clip']} scaled to {settings['width']}x{settings['height']}, q {settings['q']}, median of "
            f"{settings['repeats']} repeats of {settings['frames']} frames; conversion and entropy coding included, "
            "reading and writing of files not.", "",
            *grid(["what", "threads", "fps", "range", "where time goes"], rows)]
    most = max(rate["threads"] for rate in rates)
    own = {rate["what"]: rate["fps"] for rate in rates if rate["threads"] == most}
    size = f"{settings['width']}x{settings['height']}, {most} thread{'s' * (most > 1)}"
    return text, [
        Row(f"{size}: machine encode, machine decode",
            TARGETS["speed"], f"{own['machine encode']:.1f} fps, {own['machine decode']:.1f} fps"),
        Row("the same: human view, 4 steps", "none yet", f"{own['human decode']:.1f} fps")]


def corruption(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Damage."""
    formats = result["results"]["formats"]
    # MPEG-TS cuts units into pieces of 184 bytes: none is found whole in the file.
    rows = [[item["format"], str(item["cases"]), item["failure"] or "none", str(item["unreadable"]),
             f"{item['exact_keys']} of {item['found_keys']}",
             f"{item['found_keys']} of {item['intact_keys']}" if item["intact_keys"] else str(item["found_keys"]),
             str(item["wrong_pictures"]), f"{item['slowest_seconds']:.2f} s", f"{item['growth_mib']:.0f} MiB"]
            for item in formats]
    header = ["format", "cases", "crash or hang", "unreadable (named error)", "key units decoded exactly",
              "undamaged key units found by the container", "wrong pictures", "slowest case", "memory growth"]
    row = formats[0]
    outcome = row["failure"] or "no crash, no hang"
    return grid(header, rows), [
        Row(f"{row['cases']} random damages to a {row['format'].upper()} file", TARGETS["corruption"],
            f"{outcome}; {row['exact_keys']} of {row['found_keys']} key units found decoded exactly, "
            f"{row['wrong_pictures']} wrong pictures")]


def accuracy(result: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Detectors on coded clips: every codec against the anchor, ours against the best peer of each clip too."""
    entries = [item for item in result["results"]["comparisons"] if item["metric"] == "ap75" and item["decides"]]
    judges = list(dict.fromkeys(item["judge"] for item in entries))
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for item in entries:
        told = "-" if item["percent"] is None else f"{item['percent']:+.1f} %"
        found.setdefault((item["clip"], item["codec"], item["anchor"]), {})[item["judge"]] = told
    rows = [[clip, codec, anchor, *(by.get(judge, "-") for judge in judges)]
            for (clip, codec, anchor), by in found.items()]
    ours = {item["codec"] for item in entries if item["ours"]}
    shown = []
    for mean in result["results"]["means"]:
        if mean["codec"] in ours and mean["metric"] == "ap75" and mean["percent"] is not None:
            against = _coder(mean["anchor"]) if mean["role"] == "anchor" else "the best peer of each clip"
            shown.append(Row(
                f"{_coder(mean['codec'])}: bytes at equal AP75 of {' and '.join(judges)} (never trained on) "
                f"against {against}, {len(result['settings']['clips'])} clips",
                TARGETS["anchor" if mean["role"] == "anchor" else "best peer"],
                f"{mean['percent']:+.1f} % ({mean['count']} of {mean['of']} comparable)"))
    return ["BD-rate over AP75, the agreement with what a detector finds in the source; bytes of whole NUT files. "
            "Negative: fewer bytes.", "", *grid(["clip", "codec", "against", *judges], rows)], shown


def _times(share: float | None) -> str:
    return "no share" if share is None else f"x{share:.2f}"


def _coder(name: str) -> str:
    """A coder with its variant, where that is another than key frames every two seconds."""
    base, *variant = name.split(", ")
    return ", ".join([f"`{base}`", *(one for one in variant if one != "key 2s")])


SECTIONS: tuple[tuple[str, str, Callable[[dict[str, Any]], tuple[list[str], list[Row]]]], ...] = (
    ("stills", "Key frames against x265 and JPEG", stills),
    ("ceiling", "The ceiling of every view", ceiling),
    ("views", "Views for people", views),
    ("time", "Over time", over_time),
    ("speed", "Speed", speed),
    ("corruption", "Damage", corruption),
    ("accuracy", "What detectors see", accuracy),
)


def main() -> int:
    """Write both files."""
    lines = ["# Measurements", "", "Written by `python -m bench.table` from the files in bench/results, which "
             "`make bench KODAK=folder` makes. Every number says where it was measured.", ""]
    rows: list[Row] = []
    for name, title, section in SECTIONS:
        lines += [f"## {title}", ""]
        # Without the 24 Kodak pictures, the photographs of scikit-image's wheel stand in, and are named.
        result = load(name) or load(f"{name}_wheel")
        if result is None:
            lines += ["Not measured yet.", ""]
            continue
        text, new = section(result)
        lines += [*text, "", provenance(result), ""]
        rows += new
    (ROOT / "docs" / "measurements.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    table = grid(["what", "wanted", "measured"], [[row.what, row.target, row.measured] for row in rows])
    readme = ROOT / "README.md"
    text_ = readme.read_text(encoding="utf-8")
    block = "\n".join([BEGIN, *(table if rows else ["Not measured yet."]), END])
    replaced, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, text_, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{readme}: expected one block {BEGIN} ... {END}, found {count}")
    Path(readme).write_text(replaced, encoding="utf-8")
    print(f"wrote docs/measurements.md and README.md: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
