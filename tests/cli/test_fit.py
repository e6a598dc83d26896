"""`gptexp fit`: a folder of runs, or a table, as fit.json and in words."""

import json

import pytest
from law_runs import write_grid, write_point

from gptexp.report import law_figures

TABLE = "n,d,loss\n" + "".join(
    f"{n},{d},{1.7 + 20 / n**0.35 + 40 / d**0.3 + 0.001 * (n // 1000 % 3)}\n"
    for n in (20_000, 41_000, 80_000, 163_000)
    for d in (100_000, 210_000, 400_000, 830_000)
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setattr(law_figures, "draw_law", lambda *_: [])  # see tests/report
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def table(tmp_path):
    (tmp_path / "runs.csv").write_text(TABLE)
    return ("runs.csv", "--n", "n", "--d", "d", "--loss", "loss")


def test_a_sweep_is_fitted_and_what_must_be_known_comes_first(gptexp, tmp_path):
    write_grid(tmp_path / "scaling")
    write_point(tmp_path / "scaling", seed=7, state="failed", reason="no memory")
    result = gptexp("fit", "scaling", "--law", "chinchilla", "--draws", 20)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("scaling: 16 points and 1 left out; 4 sizes of 20k to 160k")
    assert result.out.index("uncertified:") < result.out.index("left out, failed: no memory")
    assert result.out.index("median errors") < result.out.index("90% interval")
    assert lines[-1] == "wrote scaling/fit/fit.json"
    value = json.loads((tmp_path / "scaling/fit/fit.json").read_text())
    [law] = value["laws"]
    assert law["holds"]
    assert law["parameters"]["E"]["low"] < law["parameters"]["E"]["value"]
    assert gptexp("table", "scaling").code == 0  # the folder of the fit is in nobody's way


def test_a_table_is_fitted_into_a_folder_of_its_name_and_again_alike(gptexp, table, tmp_path):
    words = (*table, "--law", "chinchilla", "--draws", 20)
    result = gptexp("fit", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "wrote runs.fit/fit.json"
    written = (tmp_path / "runs.fit/fit.json").read_bytes()
    assert [law["name"] for law in json.loads(written)["laws"]] == ["chinchilla"]
    gptexp("fit", *words, "--to", "a/b")
    assert (tmp_path / "a/b/fit.json").read_bytes() == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs.csv", "--n", "n"), "runs.csv: which column is --d, --loss of a table?"),
        (("runs.csv", "--n", "n", "--d", "d", "--loss", "los"), "--loss: los is not known"),
        (("none.csv", "--n", "n", "--d", "d", "--loss", "loss"), "none.csv: No such file"),
        (("runs.csv", "--where", "lr=1"), "--where: says how runs are read"),
        (("scaling", "--n", "n"), "--n: names a column of a table"),
        (("scaling", "--loss", "val_loss"), "--loss: val_loss is not known"),
        (("scaling", "--law", "chinchila"), "--law: chinchila is not known"),
        (("scaling", "--unit", "bytes"), "--unit: bytes is not known"),
        (("scaling", "--params", "some"), "--params: some is not known"),
        (("scaling", "scaling"), "--to: where to, of several folders?"),
        (("scaling", "runs.csv"), "runs.csv: a table among several paths"),
        (("scaling", "--draws", "100000"), "gptexp fit: Invalid value for '--draws'"),
        (("scaling",), "scaling: 1 point of a law, and 2 are the least. Fix"),
        (("nowhere",), "nowhere: not there"),
        (
            ("scaling", "--where", "dropout=0.5"),
            "--where: no run of 1 has model.dropout=0.5: model.dropout is 0. Fix: another",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(gptexp, table, tmp_path, words, said):
    write_point(tmp_path / "scaling")
    before = sorted(tmp_path.rglob("*"))
    result = gptexp("fit", *words)
    assert result.code == 2
    [line] = result.errors
    assert line.startswith(said)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_a_point_says_why(gptexp, tmp_path):
    for seed in range(3):
        write_point(tmp_path / "scaling", seed=seed, state="failed", reason="no memory")
    result = gptexp("fit", "scaling")
    assert result.code == 2
    assert "0 points of a law, and 2 are the least; left out, failed (3): s0, s1, s2" in result.err


def test_points_at_an_edge_of_the_rates_alone_say_what_takes_them(gptexp, tmp_path):
    for number, lr in enumerate((1e-3, 1e-2)):
        write_point(tmp_path / "scaling", seed=0, loss=3.0 - number, optim__lr=lr)
    result = gptexp("fit", "scaling")
    assert result.err.strip().endswith("Fix: add runs beyond those edges, or --keep-edges")


def test_a_damaged_run_is_left_out_and_told_at_the_end(gptexp, tmp_path):
    write_grid(tmp_path / "scaling")
    (write_point(tmp_path / "scaling", seed=7) / "summary.json").write_text("{")
    result = gptexp("fit", "scaling", "--law", "kaplan", "--draws", "20")
    assert result.code == 2
    assert "left out, damaged" in result.out
    assert "summary.json: damaged" in result.err


def test_a_link_in_place_of_the_results_folder_is_not_followed(gptexp, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_grid(tmp_path / "scaling")
    for verb, name in (("fit", "fit"), ("report", "report")):
        (tmp_path / "scaling" / name).symlink_to(elsewhere)
        code, _, err = gptexp(verb, "scaling")
        assert code != 0 and "Fix: remove it, or name a folder with --to" in err
    assert not any(elsewhere.iterdir())
    chosen = ("--law", "kaplan", "--draws", "20", "--to", "scaling/fit")
    assert gptexp("fit", "scaling", *chosen).code == 0
    assert (elsewhere / "fit.json").exists()
