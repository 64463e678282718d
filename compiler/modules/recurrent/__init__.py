"""Recurrent token mixers (RWKV, Mamba), and token shift."""
