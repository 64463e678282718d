"""GGUF files, the format of llama.cpp: one file with the settings, the tokenizer and the tensors of a model."""
