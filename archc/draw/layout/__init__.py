"""Layout: blocks and figures as a scene. A stack grows upward, from token ids at the bottom to the head at the top."""
