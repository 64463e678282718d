"""Feed-forward modules: plain and gated MLPs, experts, channel mixing."""
