"""The contract between graph and runtime: names, shapes and types of inputs, outputs and state."""
