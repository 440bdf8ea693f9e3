"""Figures → things people look at: an HTML page and a TensorBoard run.

`content` is what is shown, `figures` draws, `html` and `tensorboard` write.
"""

from keshikaran.report.content import ReportContent
from keshikaran.report.html import render_html, verdict_sentence, write_html_report
from keshikaran.report.tensorboard import write_tensorboard_run

__all__ = [
    "ReportContent",
    "render_html",
    "verdict_sentence",
    "write_html_report",
    "write_tensorboard_run",
]
