"""Where a run stands, from the end of its journal."""

import json

import pytest
from run_directories import valley, write_run

from gptexp.errors import StorageError
from gptexp.runs import lines
from gptexp.runs.lines import Lines
from gptexp.runs.progress import read_progress


def logged(step, rate=15000.0):
    losses = {"train/loss": 2.0, "train/lr": 1e-3, "train/tokens_per_second": rate}
    return {"step": step, "tokens": 9 * step, "epoch": step / 100, "seconds": step / 40, **losses}


def checkpointed(run, step, best_step):
    folder = run / "checkpoints"
    folder.mkdir(exist_ok=True)
    entry = {"file": f"step-{step}.pt", "size": 1, "sha256": "a" * 64, "step": step}
    (folder / "last.json").write_text(json.dumps({**entry, "best_step": best_step}))


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_step_losses_and_speed_are_those_of_the_last_lines(tmp_path, with_checkpoint):
    """An evaluation every 100 steps falls to 2.0 at step 600, 40 steps a second."""
    run = write_run(tmp_path, 0, state="running", metrics=[*valley(2.0, 12), logged(1130)])
    if with_checkpoint:
        checkpointed(run, 1100, 600)
    found = read_progress(run)
    assert (found.step, found.evaluated, found.best["step"]) == (1130, 1100, 600)
    assert found.newest["val/loss"] == valley(2.0, 12)[-1]["val/loss"]
    assert found.best["val/loss"] == 2.0
    assert found.newest["train/tokens_per_second"] == 15000.0
    assert found.pace == pytest.approx(1 / 40)
    assert found.left(2000) == pytest.approx(870 / 40)
    assert found.left(1000) == 0
    assert found.left(None) is None


def test_an_evaluation_that_has_no_checkpoint_yet_may_be_the_best(tmp_path):
    run = write_run(tmp_path, 0, state="running", metrics=valley(2.0, 12)[:7])
    checkpointed(run, 500, 500)
    assert read_progress(run).best["step"] == 600


@pytest.mark.parametrize("rows", [[], [logged(10)]])
def test_a_run_without_an_evaluation_has_no_best(tmp_path, rows):
    run = write_run(tmp_path, 0, state="running", metrics=rows)
    found = read_progress(run)
    assert found is None or (found.best, found.evaluated, found.pace) == (None, None, None)


def test_losses_that_are_not_finite_are_never_the_best(tmp_path):
    rows = valley(2.0, 12)
    rows[-1] |= {"val/loss": None, "nonfinite": {"val/loss": "nan"}}
    run = write_run(tmp_path, 0, state="running", metrics=rows)
    for best_step in (-1, 600):
        checkpointed(run, 1100, best_step)
        found = read_progress(run)
        assert found.newest["val/loss"] is None
        assert (found.best or {}).get("step") == (600 if best_step > 0 else None)


def test_I6_a_long_journal_is_read_in_a_few_places_alone(tmp_path, monkeypatch):
    run = write_run(tmp_path, 0, state="running", metrics=[])
    with (run / "metrics.jsonl").open("w") as file:
        for number in range(20_000):
            file.write(json.dumps(logged(10 * number)) + "\n")
            if number % 100 == 0:
                loss = abs(number - 3000) / 1e4 + 1
                losses = {"val/loss": loss, "val/bpb": loss, "train/eval_loss": loss}
                line = {k: v for k, v in logged(10 * number).items() if "/" not in k} | losses
                file.write(json.dumps(line) + "\n")
    checkpointed(run, 199_000, 30_000)
    parsed, real = [], lines.parsed
    monkeypatch.setattr(lines, "parsed", lambda raw: parsed.append(raw) or real(raw))
    found = read_progress(run)
    assert (found.step, found.best["step"], found.best["val/loss"]) == (199_990, 30_000, 1.0)
    assert found.pace == pytest.approx(1 / 40)
    assert len(parsed) < 200, "of 20,200 lines"


def test_what_is_no_journal_is_refused(tmp_path):
    run = write_run(tmp_path, 0, state="running")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        read_progress(run)


@pytest.mark.parametrize("length", [1, 5000])
def test_lines_from_any_step_on_are_found_by_bisection(tmp_path, length):
    path = tmp_path / "metrics.jsonl"
    steps = [step for step in range(0, 3000, 3) for _ in range(step % 2 + 1)]
    with path.open("w") as file:
        for number, step in enumerate(steps):
            word = "x" * (length if number % 100 == 7 else 1)
            file.write(json.dumps({"step": step, "number": number, "word": word}) + "\n")
            file.write("damaged\n" if number % 10 == 0 else "")
        file.write('{"step": 9999')
    for wanted in (0, 1, 3, 1498, 1500, 2997, 2998, 5000):
        found = [line["number"] for line in Lines(path).since(wanted)]
        assert found == [number for number, step in enumerate(steps) if step >= wanted], wanted
    assert [line["number"] for line in Lines(path).newest_first()] == [*range(len(steps))][::-1]
