"""Checkpoints in files of torch.save (.bin, .pth, .pt), read as data: no pickle is imported from or called."""
