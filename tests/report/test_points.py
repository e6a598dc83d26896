"""Groups as points over what varies between them."""

import pytest
from report_pages import add, grid
from run_directories import write_run

from gptexp.report.points import PARAMETERS, TOKENS, factor, factors, points, series
from gptexp.report.points import grid as cells
from gptexp.report.results import read_results


def of(folder):
    results = read_results(folder)
    some = points(results)
    return results, some, factors(some, results.by)


def sweep(folder, lrs=(0.001, 0.01, 0.1), seeds=(0, 1), **more):
    """Best losses of 2, 1, 3, and seed / 10."""
    for lr, best in zip(lrs, (2.0, 1.0, 3.0), strict=False):
        for seed in seeds:
            add(folder, 32, 0.1, seed, best + seed / 10, optim__lr=lr, **more)
    return folder


def test_a_key_that_varies_is_a_line_of_means_with_its_optimum(tmp_path):
    _, some, [lr] = of(sweep(tmp_path / "a"))
    assert (lr.key, lr.name, lr.scale.kind, lr.is_curve) == ("optim.lr", "lr", "log", True)
    [line] = series(some, lr)
    assert [(value, loss.n) for value, loss in line.points] == [(0.001, 2), (0.01, 2), (0.1, 2)]
    assert [loss.mean for _, loss in line.points] == pytest.approx([2.05, 1.05, 3.05])
    assert line.label == ""
    # Through (-1, 2.05), (0, 1.05), (1, 3.05) in decades: 1.5 x^2 + 0.5 x + 1.05.
    assert lr.scale.at(line.optimum.place) == pytest.approx(0.01 * 10 ** (-1 / 6))


def test_other_keys_are_lines_of_their_own(tmp_path):
    folder = sweep(tmp_path / "a")
    sweep(folder, lrs=(0.001, 0.01), model__dropout=0.2)
    _, some, varied = of(folder)
    assert [one.name for one in varied] == ["dropout", "lr"]
    lines = series(some, varied[1])
    assert [(line.label, line.values) for line in lines] == [
        ("dropout=0", (0.0,)),
        ("dropout=0.2", (0.2,)),
    ]
    assert [len(line.points) for line in lines] == [3, 2]
    assert lines[1].optimum is None


def test_sizes_stand_for_the_keys_that_make_them_vary(tmp_path):
    _, some, varied = of(grid(tmp_path / "a"))
    assert [one.key for one in varied] == [PARAMETERS, TOKENS]
    assert [line.label for line in series(some, varied[0])] == ["fraction=0.1", "fraction=0.5"]
    assert all(line.optimum is None for line in series(some, varied[0]))


def test_where_several_keys_make_a_model_larger_its_size_comes_last(tmp_path):
    for layers in (1, 2):
        for heads in (1, 2):
            add(
                tmp_path / "a", 32 * layers, 0.1, 0, 1.0, model__n_layer=layers, model__n_head=heads
            )
    _, _, varied = of(tmp_path / "a")
    assert varied[-1].key == PARAMETERS
    assert "model.n_head" in [one.key for one in varied]


def test_of_groups_at_one_place_a_map_shows_the_lowest(tmp_path):
    for lr, best in ((0.1, 2.0), (0.2, 1.0)):
        add(tmp_path / "a", 32, 0.1, 0, best, optim__lr=lr)
    results, some, _ = of(tmp_path / "a")
    rows, columns = (factor(some, results.by, key) for key in (PARAMETERS, TOKENS))
    [cell] = cells(some, rows, columns).values()
    assert (cell.label, cell.best.mean) == ("lr=0.2", 1.0)


def test_sizes_of_different_kinds_of_models_are_not_joined(tmp_path):
    folder = tmp_path / "kinds"
    write_run(folder, 0, params=100, model__kind="gpt", model__name="one")
    write_run(folder, 0, params=200, model__kind="gpt", model__name="two")
    write_run(folder, 0, params=300, model__kind="mlp", model__name="three")
    _, some, [size] = of(folder)
    found = {line.label: [value for value, _ in line.points] for line in series(some, size)}
    assert found == {"kind=gpt": [100, 200], "kind=mlp": [300]}
