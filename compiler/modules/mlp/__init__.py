"""MLP modules: plain and gated MLPs, mixtures of experts, channel mixing."""
