"""Small pieces of HTML: every text that comes from outside goes through `text` or a table cell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources


def text(value: object) -> str:
    """Return a value as HTML text, escaped also for use inside attributes."""
    return escape(str(value), quote=True)


@dataclass(frozen=True)
class Cell:
    """A table cell: its HTML (escaped already), and whether it heads its row or column.

    Attributes:
        html: content, trusted.
        head: True for a heading.
        css: class names.
        style: inline style.
        rows: number of rows the cell spans.
        columns: number of columns the cell spans.
    """

    html: str
    head: bool = False
    css: str = ""
    style: str = ""
    rows: int = 1
    columns: int = 1

    def render(self, scope: str) -> str:
        """Return the cell's element; `scope` ("row" or "col") says what a heading heads."""
        tag = "th" if self.head else "td"
        attributes = f' scope="{scope}"' if self.head else ""
        attributes += f' class="{self.css}"' if self.css else ""
        attributes += f' style="{self.style}"' if self.style else ""
        attributes += f' rowspan="{self.rows}"' if self.rows > 1 else ""
        attributes += f' colspan="{self.columns}"' if self.columns > 1 else ""
        return f"<{tag}{attributes}>{self.html}</{tag}>"


def table(css: str, head: Sequence[Cell], groups: Iterable[Sequence[Sequence[Cell]]]) -> str:
    """Return a table that scrolls sideways on its own when the page is too narrow.

    Args:
        css: class names of the table.
        head: cells of the heading row.
        groups: groups of rows, set apart from each other, of cells.
    """
    # the keyboard must reach what scrolls, and what it reaches needs a name
    lines = ['<div class="scroll" tabindex="0" role="group" aria-label="Table, may scroll sideways">']
    lines += [f'<table class="{css}">', "<thead><tr>"]
    lines += [cell.render("col") for cell in head]
    lines.append("</tr></thead>")
    for group in groups:
        lines.append("<tbody>")
        lines += ["<tr>" + "".join(cell.render("row") for cell in row) + "</tr>" for row in group]
        lines.append("</tbody>")
    lines.append("</table></div>")
    return "\n".join(lines)


def section(identifier: str, title: str, *parts: str) -> str:
    """Return a section with a heading; empty parts are left out."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{identifier}">\n<h2>{text(title)}</h2>\n{body}\n</section>'


def paragraph(html: str, css: str = "") -> str:
    """Return a paragraph around trusted HTML."""
    return f'<p class="{css}">{html}</p>' if css else f"<p>{html}</p>"


def details(summary: str, *parts: str) -> str:
    """Return parts folded away under a line that opens them."""
    body = "\n".join(part for part in parts if part)
    return f"<details>\n<summary>{text(summary)}</summary>\n{body}\n</details>"


def count(number: int) -> str:
    """Return a whole number with its thousands set apart, as everywhere else in the reports."""
    return f"{number:,}"


def document(title: str, body: str, sheets: Sequence[str]) -> str:
    """Return a whole page with everything inside.

    Args:
        title: of the window.
        body: trusted HTML.
        sheets: names of the style sheets beside this module.
    """
    folder = resources.files("voxanchor.evaluation")
    style = "".join(folder.joinpath(sheet).read_text(encoding="utf-8") for sheet in sheets)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
