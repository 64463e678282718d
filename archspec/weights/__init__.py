"""The weight table: tensor names of a checkpoint, and the steps that fill each parameter slot."""
