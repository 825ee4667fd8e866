"""The report page: one HTML file with the tables, plots and pictures in it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from bench.accuracy.gallery import Shot
from bench.accuracy.table import Table

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { border: 1px solid #ccc; padding: 2px 7px; text-align: left; } th { background: #f0f0f0; }
figure { display: inline-block; margin: 0 8px 14px 0; vertical-align: top; }
figcaption { font-size: 12px; max-width: 440px; } figure img { width: 440px; height: auto; }
.plot { max-width: 100%; height: auto; } .where { color: #666; }
"""


def page(title: str, where: str, tables: Sequence[Table], plots: Mapping[str, bytes],
         pictures: Mapping[str, Sequence[Shot]], remarks: Sequence[str]) -> str:
    """The whole file. where: machine and versions. plots: PNG by clip. pictures: by clip. remarks: what is left out."""
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>",
             f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><p class=where>{html.escape(where)}</p>"]
    parts += [f"<p>{html.escape(remark)}</p>" for remark in remarks]
    first, *rest = tables
    parts.append(first.html())
    for clip in dict.fromkeys([*plots, *pictures]):
        parts.append(f"<h2>{html.escape(clip)}</h2>")
        if clip in plots:
            parts.append(f'<p><img class=plot alt="accuracy against rate" src="{_embedded("png", plots[clip])}"></p>')
        for shot in pictures.get(clip, ()):
            caption = html.escape(shot.caption)
            parts.append(f'<figure><img alt="{caption}" src="{_embedded("jpeg", shot.jpeg)}">'
                         f"<figcaption>{caption}</figcaption></figure>")
    parts += [table.html() for table in rest]
    return "\n".join([*parts, "</html>", ""])


def _embedded(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
