"""gptexp fit: the best size of budgets and the best learning rate, of folders and of tables."""

import json

import pytest
from law_runs import BEST_SIZE, loss_of, write_budgets, write_point, write_rates


def laws_in(folder):
    return {law["name"]: law for law in json.loads((folder / "fit.json").read_text())["laws"]}


def test_a_folder_with_learning_rates_tells_their_law(gptexp, tmp_path):
    swept = write_rates(tmp_path / "lr")
    code, out, err = gptexp("fit", swept, "--law", "step_law")
    assert (code, err) == (0, "")
    law = laws_in(swept / "fit")["step_law"]
    assert law["parameters"]["a"]["value"] == pytest.approx(-0.8, abs=0.01)
    assert law["parameters"]["b"]["value"] == pytest.approx(0.2, abs=0.01)
    assert law["holds"] and law["held_out"]["models"]["rows"] == 3
    assert len(law["optima"]) == 9 and law["unknown"] == []
    assert "step_law: lr = e^c N^a T^b is best" in out


def test_a_folder_with_budgets_tells_the_best_size_by_exact_flops(gptexp, tmp_path):
    write_budgets(tmp_path / "runs")
    code, out, err = gptexp("fit", tmp_path / "runs", "--law", "isoflop")
    assert (code, err) == (0, "")
    law = laws_in(tmp_path / "runs" / "fit")["isoflop"]
    assert law["parameters"]["a"]["value"] == pytest.approx(BEST_SIZE, abs=0.02)
    assert [one["flops"] for one in law["optima"]] == pytest.approx([1e12, 1e13, 1e14], rel=1e-2)
    assert "isoflop: N = k C^a and T = l C^b are best for C FLOPs" in out


@pytest.mark.slow
def test_a_table_with_learning_rates_gives_the_loss_of_the_best(gptexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["size,seen,rate,width,loss"]
    for n in (1e6, 2e6, 4e6, 8e6):
        for tokens in (1e8, 2e8, 4e8, 8e8):
            for i, rate in enumerate((1e-3, 3e-3, 9e-3)):
                loss = loss_of(n, tokens) + (0 if i == 1 else 0.1 + i / 20)
                lines.append(f"{n},{tokens},{rate},{64},{loss}")
    lines.append(f"16e6,1e8,3e-3,64,{loss_of(16e6, 1e8)}")
    lines += [f"16e6,2e8,{rate},64,{rate}" for rate in (1e-3, 3e-3)]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    columns = ("--n", "size", "--d", "seen", "--loss", "loss", "--lr", "rate", "--batch", "width")
    names = ("--law", "chinchilla", "--law", "step_law", "--draws", "20")
    code, out, err = gptexp("fit", "runs.csv", *columns, *names)
    assert (code, err) == (0, "")
    laws = laws_in(tmp_path / "runs.fit")
    assert laws["chinchilla"]["parameters"]["E"]["value"] == pytest.approx(1.7, abs=0.01)
    assert laws["step_law"]["parameters"]["a"]["value"] == pytest.approx(0, abs=1e-6)
    assert "e" in laws["step_law"]["unidentified"]  # of one batch, no best one is known
    assert "uncertified: 16 of 17 points have a learning rate that is best among others" in out
    assert "left out, at the edge of what was tried: lr=0.001 is the lowest (line 51)" in out
    kept = gptexp("fit", "runs.csv", *columns, *names, "--keep-edges").out
    assert "lr=0.001 is the lowest" not in kept
    assert "uncertified: 16 of 18 points have" in kept


def test_what_cannot_be_fitted_says_why_where_it_was_asked_for_alone(gptexp, tmp_path):
    for n in (20_000, 40_000, 80_000):
        write_point(tmp_path / "runs", n, loss=1e5 / n, model__n_embd=n)
    code, out, err = gptexp("fit", tmp_path / "runs", "--law", "isoflop,step_law")
    assert code == 2 and "no law can be fitted" in err
    assert "isoflop is not fitted: no optimum is known" in out
    assert "step_law is not fitted: no two learning rates are known" in out
    assert not (tmp_path / "runs" / "fit").exists()


def test_a_batch_without_learning_rates_is_refused(gptexp, tmp_path):
    (tmp_path / "t.csv").write_text("n,d,loss,bs\n1,1,1,1\n")
    code, _, err = gptexp(
        "fit", tmp_path / "t.csv", "--n", "n", "--d", "d", "--loss", "loss", "--batch", "bs"
    )
    assert code != 0
    assert "add --lr COLUMN" in err
