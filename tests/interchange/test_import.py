"""Claim 12: microGPT's JSON read into a run directory, and back again."""

import json
from pathlib import Path

import pytest
import torch
from small_runs import ONE_LINE, problem_lines, refusal
from typer.testing import CliRunner

import gptexp
from gptexp.analysis import records
from gptexp.cli.app import app
from gptexp.config import Dtype
from gptexp.errors import CheckpointError, ConfigError
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.identity import identify
from gptexp.experiment.run import run_experiment
from gptexp.interchange import microgpt
from gptexp.interchange.convert import export_run, import_file
from gptexp.runs import checkpoint
from gptexp.runs.journal import read_journal


def test_an_import_of_an_export_samples_evaluates_and_exports_the_same(train, words, tmp_path):
    trained = train(tmp_path / "outputs", *words)
    first = export_run(trained, tmp_path / "first.json")
    imported = import_file(first, words, tmp_path / "outputs")
    assert imported != trained
    one, two = gptexp.load(trained), gptexp.load(imported)
    assert two.tokenizer.to_dict() == one.tokenizer.to_dict()
    assert two.sample(num=4, seed=3) == one.sample(num=4, seed=3)
    best, back = (records.collect([path])[0][0] for path in (trained, imported))
    assert back.best == best.best
    assert back.state == "done"
    assert evaluate_run(imported, "val", []) == evaluate_run(trained, "val", [])
    again = export_run(imported, tmp_path / "again.json")
    assert again.read_text() == first.read_text()


def test_a_file_made_elsewhere_keeps_its_float64_numbers(foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    before, after = (
        json.loads(path.read_text()) for path in (foreign, export_run(run, tmp_path / "again.json"))
    )
    del before["config"]["init_std"]
    assert after == before
    loaded = gptexp.load(run)
    assert loaded.config.model.n_layer == 2
    assert loaded.config.trainer.dtype is Dtype.float32  # so that it is judged alike on any device
    assert loaded.step == 300
    assert all(weight.dtype is torch.float32 for weight in loaded.model.parameters())


def test_an_import_leaves_a_whole_run(foreign, words, tmp_path):
    run = import_file(foreign, [*words, "name=mine"], tmp_path / "outputs")
    assert run.parent == tmp_path / "outputs" / "mine"
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "manifest.json", "metrics.jsonl", "summary.json"} <= names
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    [line] = read_journal(run / "metrics.jsonl")
    assert line["step"] == 300
    assert line["train/loss"] == 2.281591759987865
    found = json.loads((run / "summary.json").read_text())
    assert found["best"]["val_loss"] == line["val/loss"]
    assert found["sample"].count("\n") == 4  # before the first document and after each of three
    assert [s["step"] for s in read_journal(run / "samples.jsonl")] == [300]


def test_the_same_file_again_is_already_there_and_another_is_another_run(
    foreign, words, tmp_path, caplog
):
    outputs = tmp_path / "outputs"
    run = import_file(foreign, words, outputs)
    stamp = (run / "summary.json").stat().st_mtime_ns
    assert import_file(foreign, words, outputs) == run
    assert (run / "summary.json").stat().st_mtime_ns == stamp
    stored = json.loads(foreign.read_text())
    stored["state_dict"]["wte"][0][0] += 1e-12
    foreign.write_text(json.dumps(stored))
    assert import_file(foreign, words, outputs) != run


@pytest.mark.parametrize("key", ["chars", "training"])
def test_whatever_differs_in_a_file_makes_it_another_run(foreign, words, tmp_path, key):
    run = import_file(foreign, words, tmp_path / "outputs")
    stored = json.loads(foreign.read_text())
    if key == "chars":
        stored["chars"].reverse()
    else:
        stored["training"]["final_loss"] = 2.0
    foreign.write_text(json.dumps(stored))
    other = import_file(foreign, words, tmp_path / "outputs")
    assert other != run
    assert gptexp.load(other).tokenizer.characters == "".join(stored["chars"]) + "\n"


def test_training_from_an_import_is_never_taken_for_it(composed, foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    given = ["experiment=microgpt", "trainer.max_steps=300", f"init_from={run}", *words]
    given += ["model.n_embd=8", "model.n_head=2", "model.n_layer=2", "model.block_size=6"]
    config = composed(*given, "trainer.dtype=float32")
    assert identify(config, tmp_path / "outputs").directory.path != run


def test_a_killed_import_is_done_by_the_same_command(foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    whole = {path.name: path.read_bytes() for path in run.glob("*.jsonl")}
    (run / "summary.json").unlink()
    (run / "checkpoints" / "best.json").unlink()
    assert import_file(foreign, words, tmp_path / "outputs") == run
    assert {path.name: path.read_bytes() for path in run.glob("*.jsonl")} == whole
    assert gptexp.load(run).step == 300


def test_an_import_has_the_test_loss_where_there_is_a_test_part(foreign, words, tmp_path):
    given = [*words, "data.test_fraction=0.1"]
    run = import_file(foreign, given, tmp_path / "outputs")
    found = json.loads((run / "summary.json").read_text())
    assert f"test    {found['test']['loss']:.4f}" in evaluate_run(run, "test", [])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["model.activation=gelu"], "model: "),
        (["model=tiny"], "model: "),
        (["model.n_layer=3"], "model: "),
        (["rerun=true"], "rerun: "),
        (["init_from=x"], "init_from: "),
        (["branch_from=x"], "branch_from: "),
        (["trainer.eval_tokens=40"], "trainer.eval_tokens: "),
        (["trainer.device=cuda:99"], "trainer.device: "),
    ],
)
def test_an_import_takes_no_other_model_and_trains_nothing(foreign, words, tmp_path, given, named):
    kept = [word for word in words if given[0].partition("=")[0] != word.partition("=")[0]]
    line = refusal(import_file, foreign, [*kept, *given], tmp_path / "outputs")
    assert line.startswith(named)
    assert not (tmp_path / "outputs").exists()


def test_what_the_documents_lack_is_said_as_it_is(foreign, words, tmp_path):
    line = refusal(import_file, foreign, [*words, "data.fraction=0.001"], tmp_path / "outputs")
    assert line.startswith("data.fraction: 0.001 leaves no document for train")


def test_an_imported_run_is_one_to_start_from(composed, foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    given = ["experiment=microgpt", "trainer.max_steps=2", f"init_from={run}", *words]
    sizes = ["model.n_embd=8", "model.n_head=2", "model.n_layer=2", "model.block_size=6"]
    outcome = run_experiment(composed(*given, *sizes), tmp_path / "outputs")
    first = read_journal(outcome.path / "metrics.jsonl")[0]
    assert first["val/loss"] == records.collect([run])[0][0].best


def test_documents_of_other_characters_cannot_judge_it(foreign, words, documents, tmp_path):
    documents.write_text("zoë\nabc\nabe\n")
    line = refusal(import_file, foreign, words, tmp_path / "outputs")
    assert "'z' (U+007A)" in line and "'ë' (U+00EB)" in line
    assert "data=documents" in line
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "No such file"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"config": {}}', "config.n_embd is missing"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(words, tmp_path, content, named):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=named) as caught:
        import_file(path, words, tmp_path / "outputs")
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(caught.value))
    assert not (tmp_path / "outputs").exists()


def test_a_text_cannot_judge_it(foreign, tmp_path, text_file):
    given = ["data=text", f"data.path={text_file}"]
    with pytest.raises(ConfigError, match="reads documents"):
        import_file(foreign, given, tmp_path / "outputs")


def test_a_json_named_as_a_checkpoint_is_offered_the_importer(foreign):
    with pytest.raises(CheckpointError, match=f"gptexp import {foreign} --from microgpt"):
        checkpoint.read(foreign)


def test_the_verbs_write_and_read(trained, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    written = call(app, ["export", str(trained), "--to", "microgpt", "--file", "x.json"])
    assert written.output == "wrote x.json\n"
    read = call(app, ["import", "x.json", "--from", "microgpt", "name=in", *words])
    assert read.exit_code == 0
    [run] = map(str, Path("outputs/in").iterdir())
    assert run.startswith("outputs/in/micro-documents-f1-s0-")
    judged = call(app, ["evaluate", run])
    assert judged.output.startswith("val    ")
    texts = call(app, ["sample", run, "--num", "3"]).output
    assert len(texts.splitlines()) == 3  # a document a line


def test_float64_weights_are_a_checkpoint_like_any_other(foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    state = checkpoint.Store(run / "checkpoints").best()
    assert {weight.dtype for weight in state["model"].values()} == {torch.float64}
    stored = microgpt.parse(foreign.read_text(), "foreign")
    assert checkpoint.digest(state["model"]) == checkpoint.digest(microgpt.to_state(stored))
