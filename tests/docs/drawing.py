"""Draws terminal screens as one SVG: a window for each, its rows as text; and reads the rows back out of a picture.

A screen is what `pyte` makes of the bytes a program wrote. Cells stand on a grid whatever font the viewer has: each
run of text is given its width, and lines and blocks are drawn as shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec
import pyte

WIDE, HIGH, SIZE = 7.8, 17.0, 13.0
PAD, BAR, GAP = 16.0, 34.0, 20.0
INK, PAPER, BARS, EDGE, SOFT = "#d6dbe4", "#14171d", "#1d222b", "#39414e", "#9aa4b2"
NAMED = {
    "black": "#2b303a",
    "red": "#f0737b",
    "green": "#5fd38a",
    "brown": "#e6c07b",
    "blue": "#7aa7ff",
    "magenta": "#c99bff",
    "cyan": "#62d0dd",
    "white": "#d6dbe4",
}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# The quarters that a block character fills: left above, right above, left below, right below.
BLOCKS = {
    "▘": "1000", "▝": "0100", "▖": "0010", "▗": "0001", "▀": "1100", "▄": "0011", "▌": "1010", "▐": "0101",
    "▚": "1001", "▞": "0110", "▛": "1110", "▜": "1101", "▙": "1011", "▟": "0111", "█": "1111",
}  # fmt: skip
# Sequences of newer terminals that this emulator would take for something else.
_STRANGE = re.compile(rb"\x1b\[[<>=?][0-9;]*u|\x1bP.*?\x1b\\", re.DOTALL)
# Signs that many fonts lack or draw in a width of their own: as shapes in a cell of 10 by 10.
SHAPES = {
    "⎿": '<path d="M3 1 V6 H9" fill="none" stroke="{ink}" stroke-width="0.9"/>',
    "⏵": '<path d="M1.5 2.5 L9 5.5 L1.5 8.5 z" fill="{ink}"/>',
    "●": '<ellipse cx="5" cy="5.5" rx="4.2" ry="2" fill="{ink}"/>',
    "❯": '<path d="M2.5 3 L7 5.5 L2.5 8" fill="none" stroke="{ink}" stroke-width="1.2"/>',
    "☐": '<path d="M1.5 3.6 H8.5 V7 H1.5 z" fill="none" stroke="{ink}" stroke-width="0.8"/>',
}
_SVG = "{http://www.w3.org/2000/svg}"


class Look(msgspec.Struct, frozen=True):
    """How a cell looks: colours as `#rrggbb`, no background when it is the window's own."""

    ink: str = INK
    paper: str = ""
    bold: bool = False
    italic: bool = False
    underlined: bool = False


class Cell(msgspec.Struct, frozen=True):
    """One character and its look."""

    mark: str
    look: Look


Row = list[Cell]


class Window(msgspec.Struct, frozen=True):
    """A terminal window in the picture: its title and its rows."""

    title: str
    rows: list[Row]


def rows_of(raw: bytes, size: tuple[int, int]) -> list[Row]:
    """Return the rows a terminal of this size (rows, columns) shows after these bytes."""
    height, width = size
    screen = pyte.Screen(width, height)
    pyte.ByteStream(screen).feed(_STRANGE.sub(b"", raw))
    return [[cell_of(screen.buffer[y][x]) for x in range(width)] for y in range(height)]


def cell_of(char: pyte.screens.Char) -> Cell:
    """Return a cell from what the emulator keeps."""
    ink, paper = colour(char.fg) or INK, colour(char.bg)
    if char.reverse:
        ink, paper = paper or PAPER, ink
    return Cell(char.data or " ", Look(ink, paper, char.bold, char.italics, char.underscore))


def colour(name: str) -> str:
    """Return a colour as `#rrggbb`, empty for the terminal's own."""
    if name == "default":
        return ""
    return NAMED.get(name.removeprefix("bright")) or f"#{name}"


def words(row: Sequence[Cell]) -> str:
    """Return what a row says."""
    return "".join(cell.mark for cell in row).rstrip()


def draw(windows: Sequence[Window], title: str, description: str) -> str:
    """Return an SVG with one window below the other."""
    columns = max(len(row) for window in windows for row in window.rows)
    width = columns * WIDE + 2 * PAD
    parts, top = [], 1.0
    for window in windows:
        height = BAR + len(window.rows) * HIGH + 2 * PAD - 6
        parts.append(_window(window, top, width, height))
        top += height + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 2:g} {top - GAP + 1:g}" role="img" '
        f'aria-labelledby="t d">\n  <title id="t">{escape(title)}</title>\n'
        f'  <desc id="d">{escape(description)}</desc>\n'
        f"  <style>text {{ font-family: {FONT}; font-size: {SIZE:g}px; white-space: pre; fill: {INK}; }}\n"
        "    .row rect { shape-rendering: crispEdges; }\n"
        "    .b { font-weight: 700; } .i { font-style: italic; } .u { text-decoration: underline; }\n"
        f"    .name {{ font-weight: 700; fill: {INK}; }}</style>\n" + "".join(parts) + "</svg>\n"
    )


def read(svg: str) -> list[list[str]]:
    """Return what the rows of each window in such a picture say, without any white space in them.

    Raises ElementTree.ParseError when it is no XML.
    """
    root = ElementTree.fromstring(svg)
    windows = [group for group in root.iter(f"{_SVG}g") if group.get("class") == "window"]
    return [[_said(row) for row in group.iter(f"{_SVG}g") if row.get("class") == "row"] for group in windows]


def _said(row: ElementTree.Element) -> str:
    return "".join("".join(element.itertext()) for element in row.iter(f"{_SVG}text")).replace(" ", "")


def _window(window: Window, top: float, width: float, height: float) -> str:
    dots = "".join(
        f'<circle cx="{20 + 18 * at}" cy="{top + BAR / 2:g}" r="5.5" fill="{fill}"/>'
        for at, fill in enumerate(("#f0737b", "#e6c07b", "#5fd38a"))
    )
    begin = top + BAR + PAD - 3
    rows = "".join(_row(row, begin + at * HIGH) for at, row in enumerate(window.rows))
    return (
        f'  <g class="window">\n    <rect x="1" y="{top:g}" width="{width:g}" height="{height:g}" rx="11" '
        f'fill="{PAPER}" stroke="{EDGE}"/>\n'
        f'    <path d="M1 {top + BAR:g} v{11 - BAR:g} a11 11 0 0 1 11 -11 h{width - 22:g} a11 11 0 0 1 11 11 '
        f'v{BAR - 11:g} z" fill="{BARS}" stroke="{EDGE}"/>\n    {dots}\n'
        f'    <text class="name" x="82" y="{top + BAR / 2 + 4.5:g}">{escape(window.title)}</text>\n{rows}  </g>\n'
    )


def _row(row: Row, top: float) -> str:
    parts: list[str] = []
    at = 0
    for look, cells in groupby(row, key=lambda cell: cell.look):
        marks = "".join(cell.mark for cell in cells)
        parts += _run(marks, look, at, top)
        at += len(marks)
    return f'    <g class="row">{"".join(parts)}</g>\n' if parts else ""


def _run(marks: str, look: Look, at: int, top: float) -> Iterator[str]:
    left = 1 + PAD + at * WIDE
    if look.paper and look.paper != PAPER:
        yield _box(left, top, len(marks) * WIDE, HIGH, look.paper)
    # Words stay whole; a sign that a font may lack, and lines and blocks, stand alone.
    for found in re.finditer(r"─+|[▀-▟]|[!-~]+(?: [!-~]+)*|[^ ]", marks):
        x = left + found.start() * WIDE
        yield from _drawn(found[0], look, x, top)


def _drawn(part: str, look: Look, x: float, top: float) -> Iterator[str]:
    if part[0] == "─":
        yield _box(x, top + HIGH / 2 - 0.5, len(part) * WIDE, 1, look.ink)
    elif part in BLOCKS:
        for quarter, is_full in enumerate(BLOCKS[part]):
            if is_full == "1":
                # A hair wider than its quarter, so that neighbours leave no seam.
                left, above = x + quarter % 2 * WIDE / 2, top + quarter // 2 * HIGH / 2
                yield _box(left, above, WIDE / 2 + 0.4, HIGH / 2 + 0.4, look.ink)
    elif part in SHAPES:
        shape = SHAPES[part].format(ink=look.ink)
        yield f'<g transform="translate({x:.1f} {top:.1f}) scale({WIDE / 10:g} {HIGH / 10:g})">{shape}</g>'
    else:
        held = zip("biu", (look.bold, look.italic, look.underlined), strict=True)
        classes = " ".join(name for name, holds in held if holds)
        more = f' class="{classes}"' if classes else ""
        more += f' style="fill:{look.ink}"' if look.ink != INK else ""
        yield (
            f'<text x="{x:.1f}" y="{top + 12.8:.1f}" textLength="{len(part) * WIDE:.1f}" '
            f'lengthAdjust="spacingAndGlyphs"{more}>{escape(part)}</text>'
        )


def _box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
