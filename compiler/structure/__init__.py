"""The parameters of a bound spec by name and shape, and the cost of a token, without torch: for checks and listings."""
