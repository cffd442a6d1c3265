"""An X-ray as a text for terminals and as HTML."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi_finetune.chat_dataset.xray import Span, SpanKind, Xray

__all__ = ["as_html", "as_text"]

_COLORS: dict[SpanKind, str] = {"trained": "\x1b[1;32m", "masked": "\x1b[2m", "truncated": "\x1b[9;31m"}
_MARKS: dict[SpanKind, str] = {"trained": "+", "masked": " ", "truncated": "x"}
_PLAIN = "\x1b[0m"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Half-transparent colours, so that they do on light and on dark ground; and more than colour tells them apart.
_STYLES: dict[SpanKind, str] = {
    "trained": "background:rgba(46,160,67,.30);border-bottom:2px solid rgb(46,160,67)",
    "masked": "opacity:.72",
    "truncated": "background:rgba(218,54,51,.22);text-decoration:line-through",
}
_BOX = (
    "white-space:pre-wrap;overflow-wrap:anywhere;max-height:32em;overflow:auto;margin:.5em 0;padding:.6em;"
    "border:1px solid rgba(128,128,128,.5);border-radius:4px;font-family:monospace;line-height:1.5"
)


def as_text(xray: Xray, *, color: bool) -> str:
    """Give the counts, the prompt and the warnings; control characters of the data are shown and not obeyed."""
    body = _colored(xray) if color else _marked(xray)
    lines = [_heading(xray), "", body]
    if xray.warnings:
        lines += ["", *(f"! {warning}" for warning in xray.warnings)]
    return "\n".join(lines)


def as_html(xray: Xray) -> str:
    """Give the same as HTML, everything escaped."""
    legend = " ".join(
        f'<span style="{style}">{kind} {html.escape(str(_count(xray, kind)))}</span>'
        for kind, style in _STYLES.items()
    )
    spans = "".join(_span(span) for span in xray.spans)
    warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in xray.warnings)
    return (
        f"<div><div><b>{html.escape(xray.model)}</b>: {html.escape(str(xray.tokens))} tokens, cut at "
        f"{xray.max_seq_length:,}. {legend}</div>"
        f'<div style="{_BOX}">{spans}</div>' + (f"<ul>{warnings}</ul>" if warnings else "") + "</div>"
    )


def _span(span: Span) -> str:
    title = html.escape(f"{span.kind}, {span.role or 'template'}, {span.tokens} tokens")
    text = html.escape(_visible(span.text))
    return f'<span style="{_STYLES[span.kind]}" title="{title}">{text}</span>'


def _heading(xray: Xray) -> str:
    counts = ", ".join(f"{_count(xray, kind)} {kind}" for kind in _MARKS)
    return f"{xray.model}: {xray.tokens} tokens: {counts}; cut at {xray.max_seq_length:,}"


def _count(xray: Xray, kind: SpanKind) -> object:
    return {"trained": xray.trained, "masked": xray.masked, "truncated": xray.truncated}[kind]


def _colored(xray: Xray) -> str:
    # Each line is coloured on its own: many terminals and pagers forget a colour at a line's end.
    return "".join(
        f"{_COLORS[span.kind]}{line}{_PLAIN}"
        for span in xray.spans
        for line in _visible(span.text).splitlines(keepends=True)
    )


def _marked(xray: Xray) -> str:
    lines = []
    for span in xray.spans:
        # A line feed at a span's edge ends the line that the mark already ends.
        text = _visible(span.text).removeprefix("\n").removesuffix("\n")
        if text:
            lines += [f"{_MARKS[span.kind]} {line}" for line in text.split("\n")]
    return "\n".join(lines)


def _visible(text: str) -> str:
    """Show control characters as pictures of themselves, so that data cannot steer a terminal."""
    return _CONTROL.sub(lambda found: _picture(ord(found.group())), text)


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
