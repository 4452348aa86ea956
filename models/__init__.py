"""Models as plain PyTorch modules: linear layers are `nn.Linear`, so that pruning can find and swap them."""

from models.decoding.translate import translate
from models.seq2seq import Seq2SeqTransformer, load_torch
from models.text_classifier import TextClassificationModel

__all__ = ["Seq2SeqTransformer", "TextClassificationModel", "load_torch", "translate"]
