"""A plug-in whose tasks and pruners fail, each in its way."""

PLUGIN = """
    import sys

    import torch

    from prune.methods import method
    from sweep.tasks import Task, task
    from sweep.tasks.corpus import Corpus
    from sweep.tasks.toy_classification import Toy

    @method("wrong_shape")
    def wrong_shape(scoring):
        return [weight.sum() for weight in scoring.weights]

    @method("not_a_number")
    def not_a_number(scoring):
        return [weight * torch.nan for weight in scoring.weights]

    @method("dense")
    def dense(scoring):
        return scoring.weights

    @method("crash")
    def crash(scoring):
        raise RuntimeError("scores went\\nastray")

    @method("leave")
    def leave(scoring):
        sys.exit("nothing to score")

    @task("bad_prepare")
    class BadPrepare(Toy):
        def prepare(self, source):
            raise ValueError("no corpus\\ntoday")

    @task("no_data")
    class NoData(Toy):
        def prepare(self, source):
            super().prepare(source)

    @task("no_corpus")
    class NoCorpus(Toy):
        def corpus(self, source):
            pass

    @task("exits")
    class Exits(Toy):
        def corpus(self, source):
            sys.exit("no rows")

    @task("no_test_rows")
    class NoTestRows(Toy):
        def corpus(self, source):
            return Corpus.of({**super().corpus(source).rows(), "test": []})

    @task("no_training_rows")
    class NoTrainingRows(Toy):
        def corpus(self, source):
            return Corpus.of({**super().corpus(source).rows(), "train": []})

    @task("unfinished")
    class Unfinished(Task):
        summary = "without methods"
        defaults = Toy.defaults

    @task("a/b")
    class Slashed(Toy):
        pass

    @task("bad_model")
    class BadModel(Toy):
        def model(self, data):
            raise ValueError("no model today")

    @task("bad_metric")
    class BadMetric(Toy):
        embed_dim = 512

        def evaluate(self, model, split, batch_size):
            return {"accuracy": float("nan"), "loss": 1.0}

    @task("bad_loss")
    class BadLoss(Toy):
        embed_dim = 512  # of whose 2048 weights compression 3 keeps 2

        def loss(self, output, target):
            raise ValueError("no loss today")
"""


def line_of(text):
    return next(number for number, line in enumerate(PLUGIN.splitlines(), 1) if text in line)
