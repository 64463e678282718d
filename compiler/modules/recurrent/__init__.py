"""Recurrent mixers, convolutions and token shift."""
