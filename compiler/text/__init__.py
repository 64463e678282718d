"""Tokenizers: the tokenizer files of a checkpoint folder, in any of their formats, converted to tokenizer.json."""
