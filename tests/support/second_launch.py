"""A sweep that is launched again with something changed: plug-ins and a task that reads a file of the data directory."""

from dataclasses import dataclass
from pathlib import Path

STEEPEST = """
import prune


@prune.method("steepest")
def steepest(scoring):
    return [gradient.abs() for gradient in scoring.gradient()]
"""

BROKEN = """
import prune


@prune.method("mine", data=False)
def mine(scoring):
    raise ValueError("not written yet")
"""

REPAIRED = BROKEN.replace('raise ValueError("not written yet")', "return [w.abs() for w in scoring.weights]")

# The data's hash is that of the file's text, so that other notes make older results stale.
NOTES = """
from sweep.tasks import task
from sweep.tasks.corpus import Corpus
from sweep.tasks.text_classification import Row, TextClassification
from sweep.tasks.toy_classification import Toy


@task("notes")
class Notes(TextClassification):
    summary = "which of two kinds is a note"
    num_classes = 2
    defaults = Toy.defaults | {"epochs": 1, "score_samples": 8}

    def corpus(self, source):
        lines = (source.data_dir / "notes.txt").read_text().splitlines()
        rows = [Row(position % 2, line) for position, line in enumerate(lines)]
        return Corpus.of({"train": rows, "test": rows})
"""

ONE_RUN = {"pruners": ["random"], "compressions": [1], "seeds": [0]}
TOY = ONE_RUN | {"tasks": {"toy": {"epochs": 1}}}


@dataclass
class Files:
    """What a second launch finds in another place, or changed."""

    directory: Path

    def plugin(self, place: str, name: str, text: str) -> Path:
        path = self.directory / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def notes(self, place: str, rows: int) -> Path:
        """A data directory with so many notes."""
        directory = self.directory / place
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "notes.txt").write_text("".join(f"note {number}\n" for number in range(rows)))
        return directory
