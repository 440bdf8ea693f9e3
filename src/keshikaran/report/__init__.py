"""Figures → things people look at: an HTML page and a TensorBoard run.

`content` is what is shown, `figures` draws, `html` and `tensorboard` write. `contact_sheet` is a
page of images to look through, `backbone_page` one of networks to choose from.
"""

from keshikaran.report.backbone_page import (
    ComparedBackbone,
    render_backbone_page,
    write_backbone_page,
)
from keshikaran.report.contact_sheet import (
    ContactSheet,
    SheetImage,
    SheetSection,
    render_contact_sheet,
    write_contact_sheet,
)
from keshikaran.report.content import AuditCounts, Picture, ReportContent
from keshikaran.report.html import render_html, verdict_sentence, write_html_report
from keshikaran.report.tensorboard import write_tensorboard_run

__all__ = [
    "AuditCounts",
    "ComparedBackbone",
    "ContactSheet",
    "Picture",
    "ReportContent",
    "SheetImage",
    "SheetSection",
    "render_backbone_page",
    "render_contact_sheet",
    "render_html",
    "verdict_sentence",
    "write_backbone_page",
    "write_contact_sheet",
    "write_html_report",
    "write_tensorboard_run",
]
