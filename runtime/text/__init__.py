"""Text: tokenizer and chat templates."""
