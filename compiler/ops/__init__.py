"""Custom torch operators: eager body, meta body and meaning in the graph."""
