"""Names of axes that vary from call to call."""

ASKED = "asked"
"""Positions whose logits are computed; a call may ask for none."""

EXPERT_ROWS = "expert_rows"
"""Tokens that are routed to one expert; there may be none."""

MAY_BE_EMPTY = frozenset({ASKED, EXPERT_ROWS})
