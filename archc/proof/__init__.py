"""The checks that every family passes, on tiny random checkpoints: shared by `archc prove` and the tests."""
