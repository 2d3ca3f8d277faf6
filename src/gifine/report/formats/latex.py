"""Sheets as LaTeX tables, for booktabs: `\\usepackage{booktabs}`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gifine.report.formats.words import Item, Sheet, printable

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "ε": r"$\varepsilon$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "–": "--",
    "−": "$-$",
    "τ": r"$\tau$",
    "²": "$^2$",
    "…": r"\dots{}",
    '"': "''",
    **{each: f"\\{each}" for each in "&%$#_{}"},
}
_SPECIAL = re.compile("|".join(map(re.escape, _ESCAPES)))


def text(sheets: Sequence[Sheet], summary: str) -> str:
    """Floats to put into a paper; wide ones want `\\resizebox` or fewer columns."""
    return "\n\n".join([f"% {' '.join(summary.split())}", *map(_sheet, sheets)]) + "\n"


def escaped(words: str) -> str:
    """So that no name is taken for markup."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], " ".join(printable(words).split()))


def _sheet(sheet: Sheet) -> str:
    lines = [
        *(f"{escaped(words)}\n" for words in sheet.lead),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(sheet.title)}}}",
        rf"\label{{tab:{sheet.name}}}",
    ]
    if sheet.rows:
        lines += [
            rf"\begin{{tabular}}{{{'l' * len(sheet.columns)}}}",
            r"\toprule",
            f"{' & '.join(map(escaped, sheet.columns))} \\\\",
            r"\midrule",
            *(f"{' & '.join(map(_item, row))} \\\\" for row in sheet.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    lines += [rf"\par\footnotesize {escaped(note)}" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table}"])


def _item(item: Item) -> str:
    """In braces where LaTeX would take a bracket at the start of a row for an argument of the row before."""
    words = "".join(rf"\textbf{{{escaped(piece.text)}}}" if piece.is_bold else _spaced(piece.text) for piece in item)
    return f"{{}}{words}" if words.startswith(("[", "*")) else words


def _spaced(words: str) -> str:
    before, after = (" " if words[place : place + 1 or None] == " " else "" for place in (0, -1))
    inner = escaped(words)
    return f"{before}{inner}{after}" if inner else before
