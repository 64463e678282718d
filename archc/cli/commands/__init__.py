"""The commands of the command line, one module each; heavy modules are imported inside the functions that use them."""
