"""Torch operators of recurrent mixers, one file each: eager body, fake body and a translation to ONNX's Scan.

The eager body is the definition, token by token; a translation may compute several tokens at a time in an equivalent
form. Exponents are sums of non-positive numbers, or have a running maximum subtracted, so that nothing overflows
however strong a decay is.

Shape suffixes: B batch, S new positions, H heads, D key width, E value width, M all heads' channels, C channels without
heads, N numbers of state a channel, I channels of a selective scan; n chunks of c positions.
"""

from archc.compiler.ops.recurrences.decayed_average import decayed_average
from archc.compiler.ops.recurrences.delta_rule import delta_rule
from archc.compiler.ops.recurrences.heads import join_heads, part_heads
from archc.compiler.ops.recurrences.linear_attention import linear_attention
from archc.compiler.ops.recurrences.matrix_state import matrix_state
from archc.compiler.ops.recurrences.selective_scan import selective_scan

__all__ = [
    "decayed_average",
    "delta_rule",
    "join_heads",
    "linear_attention",
    "matrix_state",
    "part_heads",
    "selective_scan",
]
