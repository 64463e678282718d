"""Reading a checkpoint's `config.json`: names, spellings, values, and keys known to be harmless."""
