"""From YAML files to one tree: nodes with positions, `extends`, merging, `--set`, and the folder of shipped specs."""
