"""Files of checkpoints that several rooms read: notices of changes, and the header of GGUF files."""
