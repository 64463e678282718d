"""Tracing torch modules into graph pieces, without torch.export."""
