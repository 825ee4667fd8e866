"""Accuracy against rate: a picture per clip, an axis per judge and metric. Needs the extra ``bench`` (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from bench.accuracy.comparison import Verdicts
from bench.accuracy.metric import METRICS


def draw(verdicts: Verdicts, clip: str, metrics: Sequence[str]) -> bytes:
    """A PNG, a row per metric. Raises ModuleNotFoundError when matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    columns = max(len(verdicts.judges_of(metric)) for metric in metrics)
    figure, rows = pyplot.subplots(len(metrics), columns, figsize=(0.8 + 4.6 * columns, 4.6 * len(metrics)), dpi=100,
                                   squeeze=False)
    colours = {codec: f"C{number % 10}" for number, codec in enumerate(verdicts.codecs)}
    styles = {("full", 1.0): "-", ("zero", 1.0): "--"}
    for row, metric in zip(rows, metrics, strict=True):
        judges = verdicts.judges_of(metric)
        for axes in row[len(judges):]:
            axes.axis("off")
        for axes, judge in zip(row, judges, strict=False):
            for codec in verdicts.codecs:
                curve = verdicts.curve(clip, codec, judge, metric)
                if not curve.points:
                    continue
                item = verdicts.codec(codec)
                style = "-" if item.ours else styles.get((item.latency, item.scale), ":")
                axes.plot([point.rate for point in curve.envelope], [point.accuracy for point in curve.envelope], style,
                          color=colours[codec], label=codec, linewidth=2.4 if item.ours else 1.3,
                          zorder=3 if item.ours else 2)
                axes.plot([point.rate for point in curve.points], [point.accuracy for point in curve.points], ".",
                          color=colours[codec], markersize=6 if item.ours else 4)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("bytes a frame (whole file)")
            axes.set_ylabel(METRICS[metric].title)
            axes.set_title(f"{clip}, {judge}" + ("" if verdicts.decides(judge) else " (beside)"), fontsize=9)
            axes.grid(alpha=0.3, which="both")
        handles, labels = row[0].get_legend_handles_labels()
        if handles:
            row[max(len(judges), 1) - 1].legend(handles, labels, fontsize=7, loc="lower right")
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    pyplot.close(figure)
    return file.getvalue()
