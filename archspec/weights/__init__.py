"""The weight table: the checkpoint tensors and the operations that fill each weight slot of a model."""
