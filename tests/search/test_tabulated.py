from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import hurricane as hn
from benchmarks.held_out_problems import HELD_OUT
from benchmarks.search_problems import tabulated
from hurricane.search import check_searcher


def table() -> pa.Table:
    """2 x 3 networks; the second layer's costs are 1, 2 and 4 ms, the first's 0.5 and 1."""
    rows = list(product(("conv", "pool"), (3, 5, 7)))
    return pa.table(
        {
            "first": [kind for kind, _ in rows],
            "second": [kernel for _, kernel in rows],
            "score": [10.0 * (kind == "pool") + kernel for kind, kernel in rows],
            "ms": [0.5 * (1 + (kind == "pool")) + {3: 1.0, 5: 2.0, 7: 4.0}[kernel] for kind, kernel in rows],
        }
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_gives_its_scores_and_costs_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    if ending == "csv":
        csv.write_csv(table(), path)
    else:
        parquet.write_table(table(), path)
    problem = tabulated(path)
    archs = np.array([[0, 0], [1, 2], [1, 0]])
    assert problem.score(archs).tolist() == [3.0, 17.0, 13.0]
    assert problem.table.predict(problem.space, archs) == pytest.approx([1.5, 5.0, 2.0])
    assert problem.best_within(2.6) == 13.0


def test_the_search_finds_the_best_of_a_table(tmp_path: Path) -> None:
    csv.write_csv(table(), tmp_path / "table.csv")
    problem = tabulated(tmp_path / "table.csv")
    found = hn.evolve(problem.space, problem.score, cost=problem.table, max_ms=3.0, evaluations=4)
    assert found.best.score == 15.0


def test_a_table_without_latencies_has_no_costs(tmp_path: Path) -> None:
    csv.write_csv(table().drop_columns(["ms"]), tmp_path / "table.csv")
    problem = tabulated(tmp_path / "table.csv")
    assert (
        np.ptp(problem.table.predict(problem.space, problem.space.random(20, np.random.default_rng(0)))) == 0
    )


@pytest.mark.parametrize(("divided", "point"), [(1.0, 1.0), (100.0, 0.01)])
def test_scores_from_0_to_1_are_fractions(tmp_path: Path, divided: float, point: float) -> None:
    scores = [score.as_py() / divided for score in table()["score"]]
    csv.write_csv(table().set_column(2, "score", [scores]), tmp_path / "table.csv")
    assert tabulated(tmp_path / "table.csv").point == point


@pytest.mark.parametrize("name", list(HELD_OUT))
def test_held_out_problems_are_the_same_again_and_know_their_best(name: str) -> None:
    one, again = HELD_OUT[name](3), HELD_OUT[name](3)
    archs = one.space.random(500, np.random.default_rng(0))
    assert one.score(archs).tolist() == again.score(archs).tolist()
    budget = one.budget_ms(0.2)
    fitting = archs[one.table.predict(one.space, archs) <= budget]
    assert one.best_within(budget) >= one.score(fitting).max()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4]])
def test_a_table_with_holes_or_doubles_is_refused(tmp_path: Path, rows: list[int]) -> None:
    csv.write_csv(table().take(rows), tmp_path / "table.csv")
    with pytest.raises(ValueError, match="combinations"):
        tabulated(tmp_path / "table.csv")


def test_rivals_from_libraries_do_their_duties() -> None:
    pytest.importorskip("optuna", reason="needs the extra 'benchmarks'")
    pytest.importorskip("pymoo", reason="needs the extra 'benchmarks'")
    from benchmarks.search_rivals import Nsga2, Tpe

    for make in (Tpe, Nsga2):
        check_searcher(make)
