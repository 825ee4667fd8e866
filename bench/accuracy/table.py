"""The numbers as tables, for Markdown and for the report page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from bench.accuracy.comparison import Entry, Mean, Verdicts
from bench.accuracy.sweep import SOURCE


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
    rows = tuple((item.codec, item.anchor if item.role == "anchor" else item.role, item.metric,
                  _percent(item.percent), f"{item.count} of {item.of}") for item in means)
    note = "Over clips and the judges that decide: " if verdicts.decided else (
        "None of these judges decides (all were trained on); over clips and all of them: ")
    return Table("Mean BD-rate", ("codec", "against", "accuracy", "BD-rate", "comparable"), rows,
                 f"{note}{', '.join(verdicts.deciding)}. Negative: fewer bytes at equal accuracy. Means of logarithms.")


def comparisons(entries: Sequence[Entry]) -> Table:
    """Every BD-rate by clip and judge."""
    rows = tuple((item.clip, item.judge + ("" if item.decides else " (beside)"), item.codec, item.anchor,
                  item.role, _percent(item.percent),
                  f"not comparable: {item.reason}" if item.percent is None else f"{item.low:.3f} to {item.high:.3f}",
                  f"{item.points} ({item.envelope})") for item in entries)
    return Table("BD-rate by clip and judge",
                 ("clip", "judge", "codec", "against", "role", "BD-rate", "over accuracies", "points (envelope)"),
                 rows, "Points: measured ones of different rates, and how many of them are on the monotone envelope.")


def at_rates(verdicts: Verdicts, rates: Sequence[float], metric: str) -> Table:
    """Accuracy at given bytes a frame, mean over the judges that decide."""
    rows = []
    for clip in verdicts.clips:
        for codec in verdicts.codecs:
            cells = []
            for rate in rates:
                values = [verdicts.curve(clip, codec, judge, metric).at(rate) for judge in verdicts.deciding]
                known = [value for value in values if value is not None]
                # A mean over some of the judges only would not be comparable with the others' rows.
                cells.append(f"{sum(known) / len(known):.3f}" if known and len(known) == len(values) else "-")
            rows.append((clip, codec, *cells))
    return Table(f"Accuracy ({metric}) at equal bytes a frame", ("clip", "codec", *(f"{rate:g} B" for rate in rates)),
                 tuple(rows), f"Envelopes, linear in log rate, mean over {', '.join(verdicts.deciding)}. "
                 "-: no point so cheap, or nothing to judge by.")


def points(verdicts: Verdicts) -> Table:
    """Every point."""
    rows = []
    for clip in verdicts.clips:
        for judge in verdicts.judges:
            for codec in (SOURCE, *verdicts.codecs):
                for item in verdicts.of(clip, codec, judge):
                    result, seconds = item.accuracy, item.frames
                    real = [_share(value) for value in (result.real_ap50, result.real_ap75)]
                    paces = (f"{seconds / item.encode_seconds:.1f}" if item.encode_seconds else "-",
                             f"{seconds / item.decode_seconds:.1f}" if item.decode_seconds else "-")
                    rows.append((clip, judge, codec, str(item.quality), f"{item.bytes_per_frame:.1f}",
                                 _share(result.ap50), _share(result.ap75), _share(result.ap50_95), *real, *paces))
    return Table("Points", ("clip", "judge", "codec", "quality", "bytes a frame", "AP50", "AP75", "AP50:95",
                            "real AP50", "real AP75", "encode", "decode"), tuple(rows),
                 "AP: agreement with the judge's own detections in the source. real: persons against ground truth. "
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


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
