"""Text: tokenizer, incremental detokenization and chat templates."""
