"""How the pages are made from templates."""

from __future__ import annotations

import jinja2


def page_templates() -> jinja2.Environment:
    """The templates of this package: everything is escaped, a missing name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("keshikaran.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
