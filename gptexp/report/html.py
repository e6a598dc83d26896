"""How a page is rendered: every text escaped, no control characters, colours for day and night."""

import re
from pathlib import Path
from typing import Any

import jinja2

THEME = Path(__file__).with_name("theme.css").read_text(encoding="utf-8")  # of every page

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # which no page may hold


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of the values; what is not Markup among them is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made = environment.from_string(template.read_text(encoding="utf-8")).render(**values)
    return printable(made) + "\n"


def printable(text: str) -> str:
    """The text with signs in place of control characters and lone surrogates."""
    return CONTROL.sub("\ufffd", text).encode(errors="replace").decode()
