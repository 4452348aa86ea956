"""The library for CUDA as it was built, on any machine: that it loads and what it registers."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

built = find_spec("prune._C_cuda") is not None


@pytest.mark.process
@pytest.mark.skipif(not built and os.environ.get("PRUNE_CUDA") != "1", reason="built without CUDA")
def test_it_loads_and_has_every_operator() -> None:
    code = (
        "import torch, prune.ops\n"
        "names = ['masked_linear', 'masked_linear_grad_input', 'masked_linear_grad_weight', 'global_mask',\n"
        "  'masked_linear_forget', 'masked_linear_plan_bytes', '_masked_linear_output', '_masked_linear_gradients']\n"
        "assert not hasattr(prune.ops, '_not_built')\n"
        "print(*(torch._C._dispatch_has_kernel_for_dispatch_key(f'prune::{name}', 'CUDA') for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["True"] * 8
