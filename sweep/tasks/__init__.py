"""Tasks: data, model, loss and metric under one name. What a plug-in needs is listed in `__all__`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sweep.tasks import ag_news, multi30k, toy_classification, toy_translation  # registers the built-in tasks
from sweep.tasks.base import Task
from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import Dataset, DataSource
from sweep.tasks.registry import TASKS, get_task, prepared, task
from sweep.tasks.text_classification import Row, TextClassification
from sweep.tasks.toy_classification import Toy
from sweep.tasks.toy_translation import ToyTranslation
from sweep.tasks.translation import Pair, Translation

if TYPE_CHECKING:
    from sweep.tasks.metrics.classification import cross_entropy, evaluate

__all__ = [
    "TASKS",
    "Corpus",
    "DataSource",
    "Dataset",
    "Pair",
    "Row",
    "Task",
    "TextClassification",
    "Toy",
    "ToyTranslation",
    "Translation",
    "ag_news",
    "cross_entropy",
    "evaluate",
    "get_task",
    "multi30k",
    "prepared",
    "task",
    "toy_classification",
    "toy_translation",
]


def __getattr__(name: str) -> Any:
    if name in ("cross_entropy", "evaluate"):  # these need torch, which `sweep status` does not
        return getattr(import_module("sweep.tasks.metrics.classification"), name)
    raise AttributeError(f"module 'sweep.tasks' has no attribute {name!r}")
