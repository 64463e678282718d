"""One module a command; what is heavy is imported inside the functions, so that each command pays for itself alone."""
