"""One self-contained HTML page: no script, and nothing that is loaded from elsewhere."""

import base64
import pathlib
from collections.abc import Iterable, Sequence
from html import escape

from deeplab_load.reporting.image_rows import ImageRow
from deeplab_load.reporting.tables import Table

STYLE = """
:root { color-scheme: light dark; --ink: #1a1c1e; --ground: #fff; --line: #d5d9de; --soft: #f3f5f7; --quiet: #5a626b }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --ground: #15181b; --line: #3a4047; --soft: #1f2429; --quiet: #a2abb5 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 1280px; color: var(--ink); background: var(--ground);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-top: 3px solid var(--line); padding-top: 1rem }
h3 { margin: 2rem 0 .5rem } p, figcaption { max-width: 46rem }
.note, figcaption { color: var(--quiet); font-size: .9rem }
nav a { margin-right: 1rem } .wide { overflow-x: auto; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
thead th { vertical-align: bottom; background: var(--soft); white-space: normal; min-width: 5rem }
tbody th, thead th:first-child { text-align: left; position: sticky; left: 0 }
tbody th { font-weight: normal; white-space: normal; min-width: 8rem; background: var(--ground) }
.best { font-weight: 700 }
figure { margin: 1rem 0 } figure svg { display: block; width: 100%; min-width: var(--least, 36rem); height: auto;
  background: #fff; border-radius: 4px }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--least)), 1fr)); gap: 1rem }
.row { display: flex; gap: .5rem; margin: .4rem 0 }
.row figure { flex: 1 1 0; min-width: 7.5rem; max-width: 15rem; margin: 0 }
.row img { width: 100%; display: block; border-radius: 3px } img.map { image-rendering: pixelated }
.row figcaption { font-size: .78rem } .legend { display: flex; flex-wrap: wrap; gap: .2rem .9rem; font-size: .85rem }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .35em; border: 1px solid var(--line);
  vertical-align: -.1em }
details { margin: .6rem 0 } summary { cursor: pointer }
"""


def page(title: str, blocks: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n'
        + '\n'.join(blocks)
        + '\n</body>\n</html>\n'
    )


def heading(level: int, words: str, anchor: str = '') -> str:
    """A heading that a link can lead to."""
    return f'<h{level}' + (f' id="{escape(anchor)}"' if anchor else '') + f'>{escape(words)}</h{level}>'


def paragraph(words: str) -> str:
    """A paragraph of plain words."""
    return f'<p>{escape(words)}</p>'


def links(anchors: dict[str, str]) -> str:
    """Links to the headings, by their anchors."""
    return '<nav>' + ' '.join(f'<a href="#{escape(a)}">{escape(words)}</a>' for a, words in anchors.items()) + '</nav>'


def table(content: Table) -> str:
    """A table that scrolls sideways where it is too wide, under its title."""
    head = ''.join(f'<th scope="col">{_unbroken(words)}</th>' for words in content.header)
    rows = '\n'.join(_table_row(content, number) for number in range(len(content.rows)))
    note = f'<p class="note">{escape(content.note)}</p>' if content.note else ''
    return (
        f'<section>{heading(3, content.title)}\n<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f'<tbody>{rows}</tbody></table></div>{note}</section>'
    )


def _table_row(content: Table, number: int) -> str:
    first, *others = content.rows[number]
    cells = [
        f'<td class="best">{escape(words)}</td>' if (number, column) in content.best else f'<td>{escape(words)}</td>'
        for column, words in enumerate(others, 1)
    ]
    return f'<tr><th scope="row">{_unbroken(first)}</th>{"".join(cells)}</tr>'


def _unbroken(words: str) -> str:
    return escape(words).replace(' = ', '&nbsp;=&nbsp;')


def figure(svg: str, label: str, *, least: int = 36) -> str:
    """A drawing in its own markup, at least `least` rem wide: a narrow screen scrolls sideways."""
    svg = svg.replace('<svg', f'<svg role="img" aria-label="{escape(label)}"', 1)
    return f'<figure style="--least: {least}rem"><div class="wide">{svg}</div></figure>'


def side_by_side(blocks: Iterable[str], *, least: int) -> str:
    """Blocks beside each other, below each other where there is less than `least` rem for each."""
    return f'<div class="pair" style="--least: {least}rem">' + '\n'.join(blocks) + '</div>'


def folded(summary: str, block: str) -> str:
    """A block that opens at a click."""
    return f'<details><summary>{escape(summary)}</summary>\n{block}\n</details>'


def image_row(row: ImageRow) -> str:
    """The pictures of an image in a row that scrolls sideways where it is too wide."""
    return (
        '<div class="wide"><div class="row">'
        + ''.join(_picture(t, file, row) for t, file in row.pictures)
        + '</div></div>'
    )


def _picture(title: str, file: pathlib.Path, row: ImageRow) -> str:
    kind = {'.jpg': 'jpeg', '.png': 'png'}[file.suffix]
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(f"{row.image_id}: {title}")}" class="{"map" if kind == "png" else "photo"}" '
        f'src="data:image/{kind};base64,{data}"><figcaption>{escape(title)}</figcaption></figure>'
    )


def legend(names: Sequence[str], colours: Sequence[tuple[int, ...]]) -> str:
    """The classes and their colours."""
    entries = (
        f'<span><i style="background: rgb{tuple(colour)}"></i>{escape(name)}</span>'
        for name, colour in zip(names, colours, strict=True)
    )
    return f'<div class="legend">{"".join(entries)}</div>'
