import pytest
import torch
from torch.nn.functional import cross_entropy

from models import TextClassificationModel


def test_logits_are_the_linear_layer_of_the_mean_embedding() -> None:
    model = TextClassificationModel(vocab_size=3, embed_dim=2, num_classes=2)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, -4.0]]))
        model.fc.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
        model.fc.bias.copy_(torch.tensor([10.0, 20.0]))
    # texts: (0, 1) with mean (2, 1); (2) with mean (0, -4); none, with mean 0
    logits = model(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 3]))
    assert logits.tolist() == [[13.0, 22.0], [6.0, 12.0], [10.0, 20.0]]


def test_default_sizes_are_those_of_ag_news() -> None:
    model = TextClassificationModel()
    assert model.embedding.weight.shape == (95811, 64)
    assert model.embedding.mode == "mean"
    assert model.fc.weight.shape == (4, 64)


def test_initialisation_is_pytorchs_and_follows_the_global_seed() -> None:
    torch.manual_seed(5)
    model = TextClassificationModel(1000, 64, 50)
    torch.manual_seed(5)
    again = TextClassificationModel(1000, 64, 50)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    embeddings, weight = model.embedding.weight, model.fc.weight
    assert embeddings.mean().item() == pytest.approx(0, abs=0.02)
    assert embeddings.var().item() == pytest.approx(1, rel=0.05)
    # a uniform variable on [-1/8, 1/8], where 8 = sqrt(64), has variance (1/4)^2 / 12
    assert weight.abs().max() <= 1 / 8
    assert weight.var().item() == pytest.approx(1 / 192, rel=0.1)


def test_only_embeddings_of_the_texts_get_a_gradient() -> None:
    model = TextClassificationModel(5, 8, 3)
    cross_entropy(model(torch.tensor([4, 1, 1]), torch.tensor([0, 1])), torch.tensor([0, 2])).backward()
    touched = model.embedding.weight.grad.abs().sum(1).ne(0)
    assert touched.tolist() == [False, True, False, False, True]
    assert not model.embedding.weight.grad.is_sparse
