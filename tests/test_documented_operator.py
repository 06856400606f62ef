"""The operator in docs/writing-an-operator.md works as the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import hurricane as hn
from hurricane import ops, plugins
from hurricane.errors import OperatorError
from hurricane.nn import Supernet
from hurricane.ops import OpSpec

PAGE = Path(__file__).parents[1] / "docs" / "writing-an-operator.md"


@pytest.fixture
def ghost(monkeypatch):
    source = re.search(r"```python\n(# my_operators\.py.*?)```", PAGE.read_text(), re.DOTALL)
    assert source is not None
    module = {}
    exec(source.group(1), module)
    operators = {"ghost": module["GhostModule"]()}
    monkeypatch.setattr(plugins, "load", lambda group: operators if group == "hurricane.operators" else {})
    ops.graph.cache_clear()
    yield operators["ghost"]
    ops.graph.cache_clear()


@pytest.mark.usefixtures("ghost")
def test_the_documented_operator_is_built_counted_and_trained():
    space = hn.preset("tiny", image_size=16, classes=3, width=0.5, choices=("ghost", "sep_k3"))
    arch = [0] * len(space.layers)
    model = Supernet(space)
    logits = model(torch.rand(2, 3, 16, 16), arch)
    logits.sum().backward()
    assert logits.shape == (2, 3)
    used = sum(p.numel() for p in model.parameters() if p.grad is not None)
    assert used == space.params(np.array([arch]))[0]


@pytest.mark.usefixtures("ghost")
def test_where_it_cannot_stand_it_says_why():
    with pytest.raises(OperatorError, match="15 is odd"):
        ops.graph(OpSpec("ghost", 8, 15, 1, 8))
