"""`import torchtext` on any torch.

torchtext 0.18, the last release, is a Python half (tokenizers, vocabulary factory) and a compiled half that loads on no torch
after 2.3. Where it does not load, the project's own extension stands in for the one class that the Python half needs: `Vocab`.
"""

import importlib
import sys
from types import ModuleType

_COMPILED = ("torchtext._extension", "torchtext._torchtext")


def import_torchtext() -> ModuleType:
    """Import torchtext, with a stand-in for its compiled half where that does not load, and silence its deprecation warning.

    Raises:
        ModuleNotFoundError: torchtext is not installed.
    """
    try:
        torchtext = importlib.import_module("torchtext")
    except (OSError, ImportError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torchtext":
            raise
        _supply_compiled_half()
        torchtext = importlib.import_module("torchtext")
    torchtext.disable_torchtext_deprecation_warning()
    return torchtext


def _supply_compiled_half() -> None:
    """Put modules with the names of the compiled half where the import system searches first."""
    from prune._C import Vocab

    extension, compiled = (ModuleType(name, doc=__doc__) for name in _COMPILED)
    compiled.Vocab = Vocab  # type: ignore[attr-defined]
    sys.modules.update(zip(_COMPILED, (extension, compiled), strict=True))
