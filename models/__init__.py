"""Models as plain PyTorch modules: linear layers are `nn.Linear`, so that pruning can find and swap them."""

from models.text_classifier import TextClassificationModel

__all__ = ["TextClassificationModel"]
