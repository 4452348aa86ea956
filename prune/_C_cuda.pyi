"""The operators of `torch.ops.prune` for CUDA; importing it registers them."""
