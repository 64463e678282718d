"""Reading YAML: positions, `extends`, variants, `--set`, and the folder of shipped specs."""
