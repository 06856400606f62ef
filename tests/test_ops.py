"""Operators: one description each, counted as torch would count it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hurricane import OPERATORS, ops
from hurricane.errors import OperatorError
from hurricane.ops import GraphBuilder, OpSpec

PLACES = [(16, 16, 1), (16, 24, 1), (24, 16, 1), (16, 24, 2), (16, 16, 2)]


def test_the_pool_holds_32_operators_of_four_families():
    assert len(OPERATORS) == len(set(OPERATORS)) == 32
    assert sum(name.startswith("sep_") for name in OPERATORS) == 6
    assert sum(name.startswith("mb_") for name in OPERATORS) == 18
    assert sum(name.startswith("choice") for name in OPERATORS) == 8
    assert sum(name.endswith("_se") for name in OPERATORS) == 16


@pytest.mark.parametrize(("cin", "cout", "stride"), PLACES)
@pytest.mark.parametrize("kind", [*OPERATORS, "skip"])
def test_every_operator_stands_at_every_kind_of_place(kind, cin, cout, stride):
    spec = OpSpec(kind, cin, cout, stride, 9)
    graph = ops.graph(spec)
    assert graph.channels_of(len(graph.nodes)) == cout
    assert spec.out_size == (9 if stride == 1 else 5)


def test_an_inverted_bottleneck_counts_what_one_counts_by_hand():
    graph = ops.graph(OpSpec("mb_k5_e3", 8, 8, 1, 10))
    expand, depthwise, project = 8 * 24, 24 * 25, 24 * 8
    assert graph.macs == 100 * (expand + depthwise + project)
    assert graph.mixing_macs == 100 * (expand + project)
    assert graph.params == expand + depthwise + project + 2 * (24 + 24 + 8)


def test_skip_is_nothing_where_the_shape_is_kept_and_a_convolution_elsewhere():
    assert ops.graph(OpSpec("skip", 16, 16, 1, 8)).nodes == ()
    assert [node.op for node in ops.graph(OpSpec("skip", 16, 24, 2, 8)).nodes] == ["conv"]


def test_separable_operators_end_linear_with_a_residual():
    assert [node.op for node in ops.graph(OpSpec("sep_k3", 16, 16, 1, 8)).nodes] == [
        "conv",
        "relu",
        "conv",
        "add",
    ]


def test_squeeze_and_excitation_gates_a_quarter_wide():
    nodes = ops.graph(OpSpec("mb_k3_e6_se", 8, 8, 1, 8)).nodes
    pooled = next(i for i, node in enumerate(nodes) if node.op == "mean")
    assert [node.op for node in nodes[pooled : pooled + 5]] == [
        "mean",
        "conv",
        "relu",
        "conv",
        "hard_sigmoid",
    ]
    assert nodes[pooled + 1].channels == 48 // 4


def test_an_unknown_operator_is_named_with_the_nearest_known_one():
    with pytest.raises(OperatorError, match=r"'mb_k3_e4'.*did you mean 'mb_k3_e"):
        ops.graph(OpSpec("mb_k3_e4", 8, 8, 1, 8))


def test_a_shuffle_unit_refuses_odd_channels_in_words():
    assert "even channel counts" in (ops.unsupported(OpSpec("choice_k3", 15, 16, 1, 8)) or "")


def test_an_operator_that_writes_the_wrong_shape_is_refused(monkeypatch):
    class Shrinking:
        kind = "shrinking"

        def unsupported(self, spec):
            return None

        def write(self, spec, builder: GraphBuilder):
            builder.conv(builder.input, spec.cout + 1)

    monkeypatch.setattr(ops.plugins, "load", lambda group: {"shrinking": Shrinking()})
    with pytest.raises(OperatorError, match="wrote an output of 9 channels"):
        ops.graph(OpSpec("shrinking", 8, 8, 1, 8))


@given(st.integers(1, 64), st.integers(1, 3))
def test_output_size_is_rounded_up(size, stride):
    spec = OpSpec("sep_k3", 8, 8, stride, size)
    assert spec.out_size == len(range(0, size, stride))
    assert ops.graph(spec).nodes[-1].size == spec.out_size


def test_an_even_kernel_is_refused():
    with pytest.raises(OperatorError, match="odd"):
        GraphBuilder(8, 8).conv(0, 8, kernel=4)
