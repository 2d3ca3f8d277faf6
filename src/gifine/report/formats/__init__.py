"""The report as a page, sheets, LaTeX, Markdown, flat files, and on a terminal."""
