"""HTML from Python values: whatever is not HTML already is escaped. Nothing in a page comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from llmsim.errors import InputError

#: of a page
BEGINS = b"<!DOCTYPE html>"
#: a browser that keeps to this loads nothing from elsewhere, and runs no script but those that stand in the page
ONLY_THIS_FILE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: elements without content
VOID = frozenset({"img", "meta", "br", "hr", "input"})


class Html(str):
    """Text that is HTML, made by `element`; any other text is not, whatever it looks like."""

    __slots__ = ()


def element(name: str, /, *content: object, **attributes: str) -> Html:
    """Return an element; text in it and in its attributes is escaped. ``class_`` stands for ``class``."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{escaped(*content)}</{name}>")


def escaped(*content: object) -> Html:
    """Put content together: `Html` as it is, all else as text."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in content))


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], *, words: int = 1) -> Html:
    """Return a table, in a frame that scrolls where the screen is narrow; numbers after `words` columns of text."""
    align = ["" if i < words else "n" for i in range(len(heads))]
    top = element("tr", *(element("th", head, class_=kind) for head, kind in zip(heads, align, strict=True)))
    body = (
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, align, strict=True)))
        for row in rows
    )
    return element("div", element("table", element("thead", top), element("tbody", *body)), class_="wide")


def pairs(rows: Iterable[tuple[object, object]], kind: str = "loose") -> Html:
    """Return names and values: `loose`, one below the other on a narrow screen, or `tight`, always side by side."""
    return element("dl", *(escaped(element("dt", name), element("dd", value)) for name, value in rows), class_=kind)


def breakable(name: str) -> Html:
    """Return a dotted name that may be broken at its dots and underscores."""
    parts = re.split(r"(?<=[._])", name)
    return Html("<wbr>".join(html.escape(part) for part in parts))


def picture(file: Path, words: str) -> Html:
    """Return a PNG file as a picture inside the page."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    shown = element("div", element("img", src=source, alt=words), class_="wide", tabindex="0")
    return element("figure", shown, element("figcaption", words))


def pictures(folder: Path, known: Mapping[str, str]) -> Iterator[Html]:
    """Yield those of the known pictures that a folder has."""
    return (picture(folder / name, words) for name, words in known.items() if (folder / name).is_file())


def section(title: str, *content: object) -> Html:
    """Return a section under a title."""
    return element("section", element("h2", title), *content)


def folded(title: str, *content: object) -> Html:
    """Return what is seen after a click."""
    return element("details", element("summary", title), *content)


def command(*lines: str) -> Html:
    """Return commands to copy."""
    return element("pre", element("code", "\n".join(lines)))


def in_script(values: object) -> Html:
    """Return values as JSON that may stand in a script element: it holds no tag, whatever the values are."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def only_this_file(script: str, connect: str = "") -> str:
    """Return the policy of a page that runs this script and no other, and connects to what `connect` names."""
    if not script:
        return ONLY_THIS_FILE
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{ONLY_THIS_FILE}; script-src 'sha256-{digest}'{connect}"


def document(title: str, *content: object, script: str = "", connect: str = "") -> str:
    """Return a whole page; `script` runs when all of it is there, `connect` is what its policy adds."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content="llmsim"),
        element("meta", http_equiv="Content-Security-Policy", content=only_this_file(script, connect)),
        element("title", title),
        element("style", Html(STYLE)),
    )
    last = [element("script", Html(script))] if script else []
    body = element("body", element("main", *content), *last)
    return f"{BEGINS.decode()}\n{element('html', head, body, lang='en')}\n"


STYLE = """
:root { --paper: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d5dae0; --box: #f5f7f9;
  --good: #04603f; --good-box: #dcf3e8; --bad: #96231b; --bad-box: #fbe5e2; --doubt: #6d4d00; --doubt-box: #fcf0cf; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e8ec; --quiet: #9aa5b1; --line: #353c45;
  --box: #1d232a; --good: #7fdcb3; --good-box: #12352a; --bad: #ffa198; --bad-box: #45201d; --doubt: #f0cf75;
  --doubt-box: #3a2f10; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
p { max-width: 48rem; margin: 0.5rem 0; }
.quiet, figcaption { color: var(--quiet); font-size: 0.9rem; }
.verdict { padding: 0.7rem 1rem; border-radius: 8px; margin: 1rem 0; max-width: 48rem; }
.good { background: var(--good-box); color: var(--good); }
.bad { background: var(--bad-box); color: var(--bad); }
.doubt { background: var(--doubt-box); color: var(--doubt); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.6rem; margin: 1rem 0; }
.card { background: var(--box); border-radius: 8px; padding: 0.6rem 0.8rem; }
.card b { display: block; font-size: 1.25rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { color: var(--quiet); font-size: 0.85rem; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { padding: 0.3rem 0.7rem 0.3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.gamed { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; }
.timeline canvas { display: block; margin: 0.4rem 0; }
.timeline input { width: min(40rem, 100%); vertical-align: middle; }
.timeline output { display: block; font-size: 0.9rem; font-variant-numeric: tabular-nums; min-height: 1.4em; }
.knobs { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0.5rem 1.6rem; }
.knobs label { display: grid; grid-template-columns: 1fr auto; gap: 0 0.6rem; font-size: 0.92rem; }
.knobs input { grid-row: 2; grid-column: 1 / 3; width: 100%; margin: 0.1rem 0; }
.knobs output { font-variant-numeric: tabular-nums; text-align: right; }
tr.chosen td { background: var(--good-box); color: var(--good); font-weight: 600; }
th[tabindex] { cursor: pointer; }
th[data-down="1"]::after { content: " ▾"; } th[data-down="0"]::after { content: " ▴"; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption { margin-top: 0.3rem; }
pre { background: var(--box); padding: 0.7rem 0.9rem; border-radius: 8px; font-size: 0.85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(12rem, auto) 1fr; gap: 0.15rem 1rem; margin: 0.6rem 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: 0.6rem 0; } summary { cursor: pointer; padding: 0.4rem 0; }
li { margin: 0.35rem 0; max-width: 48rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.45rem; }
  dl.tight { grid-template-columns: 3fr 2fr; gap: 0.1rem 0.6rem; font-size: 0.9rem; } dl.tight dd { margin: 0; }
  dl.tight dt { overflow-wrap: anywhere; } img { max-width: none; width: 44rem; }
  figcaption::after { content: " Swipe the picture sideways to see all of it."; }
  th, td { padding-right: 0.5rem; } main { padding: 0.75rem; } }
@media print { details:not([open]) > * { display: block; } }
"""
