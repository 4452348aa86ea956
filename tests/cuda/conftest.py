"""What needs a GPU; without one nothing here is collected."""

import os

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]

# PyTorch looks at it when the process computes its first product, which may be another test's
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
