"""Runs: stable ids, resolved values, errors with their fix."""

import pytest

from sweep.config.run_spec import RunSpec, settable_fields
from sweep.core.errors import UsageError
from sweep.tasks import get_task


def make(**overrides):
    return RunSpec.make("toy", "random", 1.0, 0, overrides)


def test_what_equals_the_default_does_not_change_the_id():
    plain = make()
    assert make(epochs=plain.epochs, scope="global", lr=plain.lr, betas=[0.9, 0.999]).id == plain.id
    assert make(epochs=plain.epochs + 1).id != plain.id


def test_the_id_is_the_hash_of_the_four_coordinates_and_what_differs():
    import hashlib

    science = '{"compression": 0.5, "pruner": "grasp", "seed": 3, "task": "toy", "threads": 2}'
    run = RunSpec.make("toy", "grasp", 0.5, 3, {"threads": 2})
    assert run.id == "toy-grasp-c0.5-s3-" + hashlib.sha256(science.encode()).hexdigest()[:8]


def test_ids_are_those_of_before_there_was_a_choice_of_device():
    assert RunSpec.make("ag_news", "dense", 0, 0, {}).id == "ag_news-dense-c0-s0-cdd3ae7d"
    assert (
        RunSpec.make("ag_news", "random", 0.1, 0, {"device": "cpu"}).id == "ag_news-random-c0.1-s0-b2aeafa8"
    )
    assert make(device="cuda").id != make().id


def test_at_compression_zero_all_pruners_are_one_run():
    assert RunSpec.make("toy", "random", 0, 0, {"scope": "layer"}) == RunSpec.make(
        "toy", "grasp", 0.0, 0, {"iterations": 5}
    )
    assert RunSpec.make("toy", "random", 0, 0, {}).pruner == "dense"
    assert RunSpec.make("toy", "random", -0.0, 0, {}).id == RunSpec.make("toy", "random", 0, 0, {}).id


def test_a_run_survives_json():
    run = make(lr=0.02, betas=[0.8, 0.9])
    again = RunSpec.model_validate_json(run.model_dump_json())
    assert again == run
    assert again.id == run.id


@pytest.mark.parametrize(
    "field", ["epochs", "batch_size", "eval_batch_size", "score_samples", "score_batch_size", "iterations"]
)
def test_absurd_numbers_are_refused(field):
    assert getattr(make(**{field: 2**31 - 1}), field) == 2**31 - 1
    for value in (2**31, 10**20):
        with pytest.raises(
            UsageError, match=f"{field} = {value}: input should be less than or equal to 2147483647"
        ):
            make(**{field: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("toy", "random", -1, 0, {}),
            r"task 'toy': compression = -1.0: input should be greater than or equal to 0",
        ),
        (("toy", "random", float("nan"), 0, {}), r"compression = nan: input should be a finite number"),
        (("toy", "grisp", 1, 0, {}), r"unknown pruner 'grisp' \(did you mean 'grasp'\?\)"),
        (("tov", "random", 1, 0, {}), r"unknown task 'tov' \(did you mean 'toy'\?\)"),
        (
            ("toy", "random", 1, 0, {"epoch": 3}),
            r"unknown key 'epoch' for task 'toy' \(did you mean 'epochs'\?\)",
        ),
        (("toy", "random", 1, 0, {"seed": 3}), r"unknown key 'seed' for task 'toy'"),
        (("toy", "random", 1, 0, {"lr": "fast"}), r"lr = 'fast': expected a number"),
        (
            ("toy", "random", 1, 0, {"betas": [0.9, 1]}),
            r"betas = \[0.9, 1\]: both betas must be in \[0, 1\)",
        ),
        (
            ("toy", "random", 1, 0, {"scope": "globl"}),
            r"scope = 'globl': input should be 'global' or 'layer'",
        ),
        (
            ("toy_translation", "random", 1, 0, {"beam": 10**20}),
            r"beam = 10+: .*less than or equal to 2147483647",
        ),
        (
            ("toy_translation", "random", 1, 0, {"batch_tokens": 2**31}),
            r"batch_tokens = 2147483648: .*less than or",
        ),
        (("toy", "random", 1, 0, {"device": "gpu"}), r"device = 'gpu': input should be 'cpu' or 'cuda'"),
    ],
)
def test_bad_values_are_named_in_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        RunSpec.make(*arguments)
    assert "\n" not in str(caught.value)


OTHER = {
    "epochs": 7, "batch_size": 3, "eval_batch_size": 3, "lr": 0.5, "betas": [0.5, 0.5], "eps": 0.5, "score_samples": 3,
    "score_batch_size": 3, "scope": "layer", "iterations": 3, "schedule": "linear", "shuffle": True, "invert": True,
    "precision": "bf16", "threads": 3, "device": "cuda",
}  # fmt: skip
"""A value of each key that is no task's default."""
OPTIONS = {
    "prunable": "all", "batching": "tokens", "batch_tokens": 3, "max_len": 3, "beam": 3, "source": "fr", "target": "fr",
    "files": ["a", "b", "c"],
}  # fmt: skip


@pytest.mark.parametrize("task", ["ag_news", "multi30k", "toy", "toy_translation"])
def test_every_key_that_is_taken_changes_the_run(task):
    """A key without effect on the identity would be one without effect on the numbers."""
    plain = RunSpec.make(task, "grasp", 1.0, 0, {})
    keys = [*settable_fields(), *get_task(task).Options.model_fields]
    ids = {key: RunSpec.make(task, "grasp", 1.0, 0, {key: (OTHER | OPTIONS)[key]}).id for key in keys}
    assert plain.id not in ids.values()
    assert len(set(ids.values())) == len(keys)
