"""Tests of what only a CUDA device has; there is nothing to collect where there is none."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
