"""Tasks: data, model, loss and metric under one name."""

from sweep.tasks import ag_news, multi30k, toy, toy_translation  # registers the built-in tasks
from sweep.tasks.base import Task
from sweep.tasks.registry import TASKS, get_task, prepared, task

__all__ = ["TASKS", "Task", "ag_news", "get_task", "multi30k", "prepared", "task", "toy", "toy_translation"]
