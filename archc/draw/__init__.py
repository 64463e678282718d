"""The figure of an architecture: blocks of a bound spec, their layout, and the files SVG, HTML and Mermaid.

Rooms, from the bottom up:

    fonts.py       widths of text
    scene.py       boxes, lines and text with coordinates
    describe/      bound spec → blocks, in words and numbers
    totals.py      parameters by part, state and multiply-adds by length
    layout/        blocks and totals → scene
    formats/       scene → SVG, HTML; blocks → Mermaid
    comparison.py  two models: the texts and values that differ
"""
