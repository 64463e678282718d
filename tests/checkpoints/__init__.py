"""Official checkpoints as small folders of the published form, and the checks of each of their parts."""
