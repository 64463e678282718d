"""References generated from the vocabulary: the JSON Schema for editors, and the page docs/vocabulary.md."""
