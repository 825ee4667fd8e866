"""The numbers as tables, for Markdown and for the report page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from bench.accuracy.bootstrap import LEVEL, Interval
from bench.accuracy.comparison import Entry, Mean, Verdicts
from bench.accuracy.kept import Kept
from bench.accuracy.metric import HEADLINE, METRICS
from bench.accuracy.sweep import SOURCE
from bench.accuracy.within import Best


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; note: what has to be known to read them."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """With the title as a heading of the second level."""
        lines = [f"## {self.title}", "", *([self.note, ""] if self.note else [])]
        if not self.rows:
            return "\n".join([*lines, "Nothing.", ""])
        lines += [_line(self.header), "|" + "-|" * len(self.header), *map(_line, self.rows)]
        return "\n".join([*lines, ""])

    def html(self) -> str:
        """The same."""
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        if not self.rows:
            return f"<h2>{html.escape(self.title)}</h2>{note}<p>Nothing.</p>"
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                         for row in self.rows)
        return f"<h2>{html.escape(self.title)}</h2>{note}<table><tr>{head}</tr>\n{body}</table>"


def summary(means: Sequence[Mean], verdicts: Verdicts) -> Table:
    """Mean BD-rates."""
    rows = tuple((item.codec, item.anchor if item.role == "anchor" else item.role, METRICS[item.metric].title,
                  _percent(item.percent), _interval(item.interval), f"{item.count} of {item.of}") for item in means)
    notes = []
    for task in dict.fromkeys(METRICS[item.metric].task for item in means):
        metric = HEADLINE[task]
        undecided = "" if verdicts.decided(metric) else " (none of these judges decides: all were trained on)"
        notes.append(f"{task} by {', '.join(verdicts.deciding(metric))}{undecided}")
    return Table("Mean BD-rate", ("codec", "against", "accuracy", "BD-rate", f"{LEVEL} % interval", "comparable"), rows,
                 f"Over clips and the judges that decide: {'; '.join(notes)}. Negative: fewer bytes at equal accuracy. "
                 "Means of logarithms." + _intervals([item.interval for item in means]))


def comparisons(entries: Sequence[Entry]) -> Table:
    """Every BD-rate by clip and judge."""
    rows = tuple((item.clip, item.judge + ("" if item.decides else " (beside)"), METRICS[item.metric].title, item.codec,
                  item.anchor, item.role, _percent(item.percent), _interval(item.interval),
                  f"not comparable: {item.reason}" if item.percent is None else f"{item.low:.3f} to {item.high:.3f}",
                  f"{item.points} ({item.envelope})") for item in entries)
    return Table("BD-rate by clip and judge",
                 ("clip", "judge", "accuracy", "codec", "against", "role", "BD-rate", f"{LEVEL} % interval",
                  "over accuracies", "points (envelope)"),
                 rows, "Points: measured ones of different rates, and how many of them are on the monotone envelope."
                 + _intervals([item.interval for item in entries]))


def at_rates(verdicts: Verdicts, rates: Sequence[float], metric: str) -> Table:
    """Accuracy at given bytes a frame, mean over the judges that decide."""
    rows = []
    for clip in verdicts.clips:
        for codec in verdicts.codecs:
            curves = [verdicts.curve(clip, codec, judge, metric) for judge in verdicts.deciding(metric)]
            if not any(curve.points for curve in curves):
                continue
            cheapest = min(curve.points[0].rate for curve in curves if curve.points)
            cells = []
            for rate in rates:
                known = [value for value in (curve.at(rate) for curve in curves) if value is not None]
                # A mean over some of the judges only would not be comparable with the others' rows.
                cells.append(f"{sum(known) / len(known):.3f}" if known and len(known) == len(curves) else "-")
            rows.append((clip, codec, *cells, f"{cheapest:.0f} B"))
    return Table(f"Accuracy ({METRICS[metric].title}) at equal bytes a frame",
                 ("clip", "codec", *(f"{rate:g} B" for rate in rates), "cheapest point"),
                 tuple(rows), f"Envelopes, linear in log rate, mean over {', '.join(verdicts.deciding(metric))}. "
                 "-: no point so cheap, or nothing to judge by.")


def within(found: Sequence[Best]) -> Table:
    """Who sees most within so many bytes a frame. found: of one metric and limit; the best of a clip comes first."""
    rows, ahead, clips = [], 0, list(dict.fromkeys(item.clip for item in found))
    for clip in clips:
        group = sorted((item for item in found if item.clip == clip), key=lambda item: -(item.accuracy or 0))
        known = [item for item in group if item.accuracy is not None]
        ahead += bool(known) and known[0].ours and all(item.ours or item.accuracy != known[0].accuracy
                                                       for item in known)
        for item in group:
            said = _share(item.accuracy) if item.accuracy is not None else f"no point: {item.bytes_per_frame:.0f} B"
            rows.append((clip, item.base + (" (ours)" if item.ours else ""), said, item.codec, str(item.quality),
                         f"{item.bytes_per_frame:.0f} B"))
    metric, limit = (found[0].metric, found[0].limit) if found else ("ap75", 0.0)
    ours = any(item.ours for item in found)
    return Table(f"Best accuracy ({METRICS[metric].title}) within {limit:g} bytes a frame",
                 ("clip", "codec", "best", "setting", "quality", "bytes a frame"), tuple(rows),
                 "Of every coder its best measured point over all settings, mean over the judges that decide. "
                 "No point: the cheapest of any setting has more bytes, and stands there."
                 + (f" Ours is ahead of every other on {ahead} of {len(clips)} clips." if ours else ""))


def kept(found: Sequence[Kept]) -> Table:
    """The bytes a frame that keep the source's accuracy, or almost. found: of one metric."""
    rows = []
    for item in found:
        rate = "-" if item.bytes_per_frame is None else f"{item.bytes_per_frame:.0f} B"
        rows.append((item.clip, item.judge, item.codec, f"{item.wanted:.3f}",
                     f"at most {rate}" if item.cheapest else rate, _percent(item.percent)))
    metric, loss = (found[0].metric, found[0].loss) if found else ("ap75", 0.0)
    return Table(f"Bytes a frame that lose {100 * loss:g} points of the source's accuracy ({METRICS[metric].title})",
                 ("clip", "judge", "codec", "accuracy", "from", "against the anchor"), tuple(rows),
                 "The least rate on the envelope, linear in log rate. -: no measured point is so good.")


def points(verdicts: Verdicts) -> Table:
    """Every point."""
    rows = []
    for clip in verdicts.clips:
        for judge in verdicts.judges:
            for codec in (SOURCE, *verdicts.codecs):
                for item in verdicts.of(clip, codec, judge):
                    seconds = item.frames
                    paces = (f"{seconds / item.encode_seconds:.1f}" if item.encode_seconds else "-",
                             f"{seconds / item.decode_seconds:.1f}" if item.decode_seconds else "-")
                    rows.append((clip, judge, codec, str(item.quality), f"{item.bytes_per_frame:.1f}",
                                 _bits(item.bits_per_pixel),
                                 *(_share(item.accuracy.value(metric)) for metric in verdicts.metrics), *paces))
    return Table("Points", ("clip", "judge", "codec", "quality", "bytes a frame", "bits a pixel",
                            *(METRICS[metric].title for metric in verdicts.metrics), "encode", "decode"), tuple(rows),
                 "Agreement with what the judge sees in the source; real: against ground truth. "
                 "Encode, decode: frames per second of CPU time, all threads taken together.")


def skipped(verdicts: Verdicts) -> Table:
    """Clips that a judge cannot judge."""
    rows = tuple((item.clip, item.judge, item.accuracy.reason) for item in verdicts.all
                 if item.codec == SOURCE and item.accuracy.reason)
    return Table("Nothing to judge by", ("clip", "judge", "why"), rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


def _interval(value: Interval | None) -> str:
    if value is None:
        return "-"
    if value.low90 is None or value.high90 is None:
        return "none"
    left_out = f" ({value.undefined} of {value.draws} without)" if value.undefined else ""
    return f"{value.low90:+.1f} to {value.high90:+.1f} %{left_out}"


def _intervals(given: Sequence[Interval | None]) -> str:
    """What has to be known to read a column of intervals, and why some are missing."""
    known = [item for item in given if item is not None]
    if not known:
        return ""
    draws = max(item.draws for item in known)
    said = (f" Intervals: percentiles of {draws} draws of the pictures, or of runs of frames of two seconds, with "
            "replacement (bootstrap), the same draws for both coders; without: draws that have no BD-rate.")
    reasons = dict.fromkeys(item.reason for item in known if item.reason)
    return (said if draws else "") + (f" No interval where {'; '.join(reasons)}." if reasons else "")


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
