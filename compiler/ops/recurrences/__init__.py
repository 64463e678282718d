"""The torch operators of recurrent mixers, one file each: eager body, fake body, and a translation to ONNX's Scan.

An eager body walks over the tokens one by one and is the definition; a translation may take several at a time, in a
form that gives the same numbers. All exponents are of sums of non-positive numbers, or have a running maximum taken
off, so that nothing overflows however strong a decay is.

Shape suffixes: B batch, S new positions, H heads, D key width, E value width, M all heads' channels, C channels without
heads, N numbers of state a channel, I channels of a selective scan; n chunks of c positions.
"""

from archc.compiler.ops.recurrences.decayed_average import decayed_average
from archc.compiler.ops.recurrences.delta_rule import delta_rule
from archc.compiler.ops.recurrences.heads import join_heads, part_heads
from archc.compiler.ops.recurrences.linear_attention import linear_attention
from archc.compiler.ops.recurrences.selective_scan import selective_scan
from archc.compiler.ops.recurrences.table import TRANSLATIONS

__all__ = [
    "TRANSLATIONS",
    "decayed_average",
    "delta_rule",
    "join_heads",
    "linear_attention",
    "part_heads",
    "selective_scan",
]
