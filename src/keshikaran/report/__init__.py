"""Figures → things people look at: an HTML page, the same as JSON, and a TensorBoard run.

`content` is what is shown, `verdict` says it in sentences, `gallery` puts test images into cells,
`figures` draws, `html`, `document` and `tensorboard` write. `contact_sheet` is a page of images to
look through; `pages` is what all pages share; `backbone_page` shows networks to choose from.
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
from keshikaran.report.document import report_document, write_json_report
from keshikaran.report.gallery import first_to_show, places
from keshikaran.report.html import render_html, write_html_report
from keshikaran.report.tensorboard import write_tensorboard_run
from keshikaran.report.verdict import counted_sentence, verdict_sentence

__all__ = [
    "AuditCounts",
    "ComparedBackbone",
    "ContactSheet",
    "Picture",
    "ReportContent",
    "SheetImage",
    "SheetSection",
    "counted_sentence",
    "first_to_show",
    "places",
    "render_backbone_page",
    "render_contact_sheet",
    "render_html",
    "report_document",
    "verdict_sentence",
    "write_backbone_page",
    "write_contact_sheet",
    "write_html_report",
    "write_json_report",
    "write_tensorboard_run",
]
