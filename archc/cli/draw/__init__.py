"""`archc draw`: the model and its numbers from a spec, a plan or a checkpoint, and the output file."""
