"""Measures of the layout in pixels."""

BLOCK = 272  # width of a block
PAD = 12  # inside of a block
GUTTER = 30  # at each side of a card's blocks; the skip connections are in the right one
RISE = 14  # length of a short arrow
PLUS = 8  # radius of a sum
TEXT, SMALL, TITLE = 11, 10, 12.5  # font sizes
GAP = 16  # between neighbors
