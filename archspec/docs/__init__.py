"""Generated references of the language: the JSON Schema for editors and the vocabulary page."""
