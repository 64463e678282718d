"""Layout: blocks and totals as a scene. A stack grows upward, from token ids at the bottom to the head at the top."""
