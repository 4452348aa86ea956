import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from sweep.config.run_spec import RunSpec
from sweep.core.errors import UsageError
from sweep.tasks import TASKS, Task, get_task, task
from sweep.tasks.base import DEFAULTS
from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.token_bags import BagSplit
from sweep.tasks.metrics.classification import evaluate
from sweep.tasks.text_classification import Row, TextClassification
from sweep.tasks.toy_classification import Toy


@pytest.fixture
def _own_registry() -> Iterator[None]:
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


class Colours(TextClassification):
    summary: ClassVar[str] = "two texts"
    num_classes: ClassVar[int] = 2
    defaults: ClassVar[Mapping[str, Any]] = Toy.defaults

    def corpus(self, source: DataSource) -> Corpus:
        train = [Row(0, "Red rose, red"), Row(1, "Blue sky")]
        return Corpus("some hash", True, lambda: {"train": train, "test": [Row(1, "blue rose?"), Row(0, "")]})


@pytest.mark.usefixtures("_own_registry")
class TestRegistry:
    def test_a_decorated_class_is_found_by_its_name(self) -> None:
        assert task("colours")(Colours) is Colours
        assert get_task("colours") is Colours
        assert Colours.name == "colours"

    def test_a_taken_name_is_refused(self) -> None:
        with pytest.raises(
            UsageError, match=r"'toy' of Colours is taken by sweep\.tasks\.toy_classification\.Toy"
        ):
            task("toy")(Colours)

    @pytest.mark.parametrize("name", [5, None, Colours])
    def test_a_name_that_is_no_text(self, name: Any) -> None:
        with pytest.raises(
            UsageError, match=r'^task name .* is not a string; write @task\("name"\) above the class$'
        ):
            task(name)

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"summary": None}, "Mine has no `summary`; give it one, one line of text"),
            ({"defaults": None}, "Mine has no `defaults`; give it one, a mapping"),
            (
                {"defaults": {k: v for k, v in Toy.defaults.items() if k != "eps"}},
                "`defaults` of Mine lack 'eps'; add it to `defaults`",
            ),
            ({"Options": None}, "Options of Mine is None; make it a class derived from Task.Options"),
        ],
    )
    def test_a_class_that_lacks_what_every_task_has(self, attributes: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=f"^task 'mine': {message}$"):
            task("mine")(type("Mine", (Toy,), attributes))
        assert "mine" not in TASKS

    def test_what_is_no_task(self) -> None:
        for kind in (Corpus, 5):
            with pytest.raises(
                UsageError, match=r"'mine' is .*not a subclass of sweep\.tasks\.Task; make it one"
            ):
                task("mine")(kind)  # type: ignore[type-var]

    def test_the_keys_that_defaults_must_have_are_those_that_a_run_has_no_default_for(self) -> None:
        needed = {name for name, field in RunSpec.model_fields.items() if field.is_required()}
        assert needed == {"task", "pruner", "compression", "seed", *DEFAULTS}

    @pytest.mark.parametrize("key", ["epoch", "seed", "options"])
    def test_an_unknown_key_in_defaults(self, key: str) -> None:
        task("mine")(type("Mine", (Toy,), {"defaults": {**Toy.defaults, key: 3}}))
        with pytest.raises(
            UsageError, match=f"task 'mine': unknown key '{key}' in its `defaults`.*leave it out"
        ):
            RunSpec.make("mine", "random", 1, 0, {})

    def test_an_unknown_name(self) -> None:
        with pytest.raises(
            UsageError, match=r"unknown task 'agnews' \(did you mean 'ag_news'\?\); known: ag_news"
        ):
            get_task("agnews")


@pytest.mark.parametrize("name", ["ag_news", "toy"])
def test_built_in_tasks_say_what_a_run_needs(name: str) -> None:
    kind = get_task(name)
    assert kind.name == name
    assert set(kind.defaults) == set(DEFAULTS)
    assert "\n" not in kind.summary
    assert kind.metric == "accuracy"


def test_ag_news_is_trained_as_in_the_paper() -> None:
    expected = {
        "epochs": 10,
        "batch_size": 64,
        "eval_batch_size": 256,
        "lr": 0.001,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "score_samples": 40,
        "score_batch_size": 256,
    }
    assert dict(get_task("ag_news").defaults) == expected


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        get_task("toy").Options(colour="red")  # type: ignore[call-arg]


@pytest.mark.process
def test_listing_tasks_imports_neither_torch_nor_pyarrow() -> None:
    code = "import sys, sweep.tasks; print([m for m in ('torch', 'pyarrow', 'torchtext', 'pooch') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


@pytest.mark.usefixtures("_own_registry")
class TestTextClassification:
    @pytest.fixture
    def colours(self) -> Task:
        kind = task("colours")(Colours)
        return kind(kind.Options())

    def test_prepare(self, colours: Task, tmp_path: Path) -> None:
        data = colours.prepare(DataSource(None, False, tmp_path))
        # <unk>, then by frequency, then by token: red (2), "," blue rose sky (1)
        (tokens, offsets), target = data.train.batches(5)[0]
        assert (tokens.tolist(), offsets.tolist(), target.tolist()) == ([1, 4, 2, 1, 3, 5], [0, 4], [0, 1])
        (tokens, offsets), target = data.test.batches(5)[0]
        assert (tokens.tolist(), offsets.tolist(), target.tolist()) == ([3, 4, 0], [0, 3], [1, 0])
        assert dict(data.info) == {"vocab_size": 6, "num_classes": 2}
        assert (data.train_rows, data.test_rows, data.data_hash, data.data_verified) == (
            2,
            2,
            "some hash",
            True,
        )
        assert [path.name[:8] for path in (tmp_path / "tokens").iterdir()] == ["colours-"]

    def test_prepare_again_reads_no_rows(
        self, colours: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = DataSource(None, False, tmp_path)
        first = colours.prepare(source)
        monkeypatch.setattr(Colours, "corpus", lambda *_: Corpus("some hash", True, lambda: 1 / 0))
        second = colours.prepare(source)
        assert isinstance(first.train, BagSplit)
        assert isinstance(second.train, BagSplit)
        assert torch.equal(first.train.ids, second.train.ids)
        monkeypatch.setattr(Colours, "corpus", lambda *_: Corpus("another hash", True, lambda: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            colours.prepare(source)

    def test_model_and_loss(self, colours: Task, tmp_path: Path) -> None:
        data = colours.prepare(DataSource(None, False, tmp_path))
        torch.manual_seed(3)
        model = colours.model(data)
        torch.manual_seed(3)
        assert all(map(torch.equal, model.parameters(), colours.model(data).parameters()))
        inputs, target = data.train.batches(2)[0]
        logits = model(*inputs)
        assert logits.shape == (2, 2)
        # cross entropy by hand: log of the sum of exponentials, minus the right logit; mean over rows
        by_hand = [torch.logsumexp(row, 0) - row[label] for row, label in zip(logits, target, strict=True)]
        torch.testing.assert_close(colours.loss(logits, target), torch.stack(by_hand).mean())


class TestScoreRows:
    split = BagSplit(torch.zeros(0, dtype=torch.int32), torch.zeros(101, dtype=torch.int64), torch.zeros(100))

    def rows(self, samples: int, seed: int) -> torch.Tensor:
        kind = get_task("toy")
        return kind(kind.Options()).score_rows(self.split, samples, torch.Generator().manual_seed(seed))

    def test_different_rows_by_the_generator(self) -> None:
        rows = self.rows(40, 1)
        assert rows.dtype == torch.int64
        assert len(set(rows.tolist())) == 40
        assert set(rows.tolist()) <= set(range(100))
        assert torch.equal(rows, self.rows(40, 1))
        assert not torch.equal(rows, self.rows(40, 2))

    def test_every_row_is_drawn_equally_often(self) -> None:
        counts = torch.stack([self.rows(40, seed) for seed in range(500)]).flatten().bincount(minlength=100)
        # binomial: 500 draws of probability 0.4, standard deviation 11
        assert counts.min() > 200 - 5 * 11
        assert counts.max() < 200 + 5 * 11

    def test_too_few(self) -> None:
        with pytest.raises(UsageError, match="score_samples = 101, but toy has only 100 training rows"):
            self.rows(101, 1)


class TestEvaluate:
    """Texts of one token each, whose embedding gives the logits away."""

    split = BagSplit(
        torch.tensor([0, 1, 2, 0, 1], dtype=torch.int32), torch.arange(6), torch.tensor([0, 1, 2, 1, 1])
    )

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0]]))
            self.frozen = nn.Dropout(0.9).eval()
            self.live = nn.Dropout(0.9)

        def forward(self, tokens: torch.Tensor, _offsets: torch.Tensor) -> torch.Tensor:
            assert not torch.is_grad_enabled()
            return self.live(self.frozen(self.logits[tokens]))

    @pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
    def test_accuracy_and_loss_by_hand(self, batch_size: int) -> None:
        # largest logits: 0, 1, 1, 0, 1 against 0, 1, 2, 1, 1: three of five are right
        loss = nn.CrossEntropyLoss()
        found = evaluate(self.Lookup(), loss, self.split, batch_size)
        exp = torch.tensor([2.0, 1.0, 3.0]).exp()
        right = [2.0, 1.0, 0.0, 0.0, 1.0]
        by_hand = sum((exp[i] + 2).log().item() - r for i, r in zip([0, 1, 2, 0, 1], right, strict=True)) / 5
        assert found == {"accuracy": 60.0, "loss": pytest.approx(by_hand, rel=1e-6)}

    def test_the_mode_of_every_module_is_as_before(self) -> None:
        model = self.Lookup()
        evaluate(model, nn.CrossEntropyLoss(), self.split, 2)
        assert [module.training for module in (model, model.live, model.frozen)] == [True, True, False]
        with pytest.raises(IndexError):
            evaluate(
                model,
                nn.CrossEntropyLoss(),
                BagSplit(torch.tensor([9]), torch.arange(2), torch.tensor([0])),
                2,
            )
        assert [module.training for module in (model, model.live, model.frozen)] == [True, True, False]
