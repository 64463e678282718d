"""Sentencepiece models: the model file, its normalization and its pieces, BPE or unigram."""
