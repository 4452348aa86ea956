"""Modules that can be put into a form in which they are homogeneous of degree one."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class LinearForm(nn.Module):
    """Base of modules whose forward is not homogeneous: normalisation, softmax, added constants, dropout.

    Inside `synflow_form()` such a module replaces that part by something homogeneous of degree one that maps
    non-negative input to non-negative output, so that the synaptic flow of the whole network (Tanaka et al. 2020) is
    defined. Each class says what it does there.
    """

    in_linear_form = False

    @contextmanager
    def synflow_form(self) -> Iterator[None]:
        """Be in the linear form for the time of the context."""
        before = self.in_linear_form
        self.in_linear_form = True
        try:
            yield
        finally:
            self.in_linear_form = before
