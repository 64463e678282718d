"""Evaluation of plans: perplexity of a text, and tasks of lm-evaluation-harness."""
