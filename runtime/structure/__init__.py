"""Structured answers: grammars that limit the output, and tool calls and reasoning in its text."""
