"""State of sequences between calls, and the encoder's output."""
