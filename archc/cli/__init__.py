"""The `archc` command line: one module for each command, error reporting, and the report of `archc inspect`."""
