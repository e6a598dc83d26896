"""Claim 12: microGPT's JSON written from a run, read into a run directory, and back again."""

import json
import random
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from small_runs import ONE_LINE, only, problem_lines
from typer.testing import CliRunner

import gptexp
from gptexp import reference
from gptexp.analysis import records
from gptexp.cli.app import app
from gptexp.config import Dtype, compose
from gptexp.errors import CheckpointError, ConfigError, DataError, GptexpError
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.identity import identify
from gptexp.experiment.run import run_experiment
from gptexp.interchange import microgpt
from gptexp.interchange.convert import export_run, import_file
from gptexp.runs import checkpoint
from gptexp.runs.journal import read_journal

CHARS = "abcdelnou"


@pytest.fixture
def documents(tmp_path):
    rng = random.Random(5)
    lines = ["".join(rng.choices(CHARS, k=rng.randint(2, 9))) for _ in range(60)]
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def words(documents):
    """Overrides of a microGPT on `documents`, which import and run.py take alike."""
    return [
        "data=documents",
        f"data.path={documents}",
        "logger=none",
        "trainer.device=cpu",
        "trainer.sample_documents=3",
    ]


@pytest.fixture
def trained(words, documents, tmp_path, quick):
    """The directory of a run of twelve steps."""
    given = ["experiment=microgpt", "trainer.max_steps=12", "trainer.eval_interval=4", *words]
    config = compose.from_overrides(given)
    return run_experiment(config, tmp_path / "outputs").directory


@pytest.fixture
def foreign(tmp_path):
    """A file made elsewhere: float64 weights, two layers, more keys than needed."""
    rows = reference.draw_weights(random.Random(1), len(CHARS) + 1, 2, 8, 6)
    stored = {
        "config": {"n_embd": 8, "n_head": 2, "n_layer": 2, "block_size": 6, "init_std": 0.08},
        "training": {"num_steps": 300, "final_loss": 2.281591759987865},
        "chars": list(CHARS),
        "state_dict": rows,
    }
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(stored))
    return path


def refusal(call, *arguments) -> str:
    with pytest.raises(GptexpError) as caught:
        call(*arguments)
    for line in problem_lines(caught.value):
        assert ONE_LINE.fullmatch(line), line
    return "\n".join(problem_lines(caught.value))


def test_an_export_holds_the_best_weights_under_microgpt_s_names(trained, tmp_path):
    path = export_run(trained, tmp_path / "out.json")
    stored = json.loads(path.read_text())
    assert list(stored) == ["config", "training", "chars", "state_dict"]
    assert stored["config"] == {"n_embd": 16, "n_head": 4, "n_layer": 1, "block_size": 16}
    assert stored["chars"] == sorted(CHARS)
    run = gptexp.load(trained)
    assert stored["training"]["num_steps"] == run.step
    logged = [line["train/loss"] for line in run.metrics if "train/loss" in line]
    assert stored["training"]["final_loss"] in logged
    table = torch.tensor(stored["state_dict"]["wte"])
    assert torch.equal(table, run.model.token_table.weight)
    assert len(stored["state_dict"]["lm_head"]) == len(CHARS) + 1


def test_an_export_is_called_by_its_sizes_and_steps(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = gptexp.load(trained).step
    assert str(export_run(trained)) == f"model_e16_h4_l1_s{step}.json"
    export_run(trained)  # the same again is no conflict
    (tmp_path / "other.json").write_text("{}")
    assert "differs" in refusal(export_run, trained, tmp_path / "other.json")
    assert (tmp_path / "other.json").read_text() == "{}"


def test_the_scalar_engine_computes_from_an_export_what_the_run_does(trained, tmp_path):
    stored = json.loads(export_run(trained, tmp_path / "out.json").read_text())
    scalar = reference.Model(stored["state_dict"], stored["config"]["n_head"])
    tokens = reference.encode("abel", "".join(stored["chars"]))
    run = gptexp.load(trained)
    logits = run.model.double()(torch.tensor([tokens[:-1]]))[0]
    theirs = torch.tensor([[v.data for v in row] for row in scalar.forward_uncached(tokens[:-1])])
    torch.testing.assert_close(logits, theirs.double(), rtol=0, atol=1e-6)


def test_an_import_of_an_export_samples_evaluates_and_exports_the_same(
    trained, words, tmp_path, documents
):
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


def test_training_from_an_import_is_never_taken_for_it(foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    given = ["experiment=microgpt", "trainer.max_steps=300", f"init_from={run}", *words]
    given += ["model.n_embd=8", "model.n_head=2", "model.n_layer=2", "model.block_size=6"]
    config = compose.from_overrides([*given, "trainer.dtype=float32"])
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


def test_an_export_never_overwrites_what_is_no_text(trained, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "differs" in refusal(export_run, trained, path)
    assert "differs" in refusal(export_run, trained, tmp_path)
    assert "Fix: " in refusal(export_run, trained, tmp_path / "no" / "x.json")


def test_an_imported_run_is_one_to_start_from(foreign, words, tmp_path, quick):
    run = import_file(foreign, words, tmp_path / "outputs")
    given = ["experiment=microgpt", "trainer.max_steps=2", f"init_from={run}", *words]
    sizes = ["model.n_embd=8", "model.n_head=2", "model.n_layer=2", "model.block_size=6"]
    outcome = run_experiment(compose.from_overrides([*given, *sizes]), tmp_path / "outputs")
    first = read_journal(outcome.directory / "metrics.jsonl")[0]
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.norm", "layernorm"),
        ("model.activation", "gelu"),
        ("model.final_norm", "true"),
        ("model.bias", "true"),
        ("model.tie_head", "true"),
        ("model.position", "none"),
        ("tokenizer", "byte"),
        ("data.documents", "false"),
    ],
)
def test_what_microgpt_does_not_know_is_not_exported(words, tmp_path, quick, key, value):
    given = ["experiment=microgpt", "trainer.max_steps=1", *words, f"{key}={value}"]
    given += ["data.shuffle=false", "model.block_size=4"] if key == "data.documents" else []
    outcome = run_experiment(compose.from_overrides(given), tmp_path / "outputs")
    line = refusal(export_run, outcome.directory, tmp_path / "out.json")
    assert (key if "." in key else f"{key}.name") in line
    assert not (tmp_path / "out.json").exists()


def test_a_json_named_as_a_checkpoint_is_offered_the_importer(foreign):
    with pytest.raises(CheckpointError, match=f"gptexp import {foreign} --from microgpt"):
        checkpoint.read(foreign)


# gptexp evaluate


def test_the_loss_of_the_best_checkpoint_is_that_which_was_logged(trained):
    best = records.collect([trained])[0][0].best
    assert evaluate_run(trained, "val", []).startswith(f"val     {best:.4f} nats per token")


def test_another_text_and_split_are_judged(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["bell", "noel", "cleo", "bode"] * 5))
    given = ["data=documents", f"data.path={other}", "data.val_fraction=0.5"]
    line = evaluate_run(trained, "val", given)
    assert "50 tokens of" in line  # ten documents of four characters and an end
    assert str(other) in line
    assert evaluate_run(trained, "train", []).startswith("train ")


def test_a_part_that_is_not_judged_may_be_short(small, tmp_path, quick):
    run = run_experiment(small(), tmp_path / "outputs").directory
    GlobalHydra.instance().clear()  # `small` composes by it, and so does the other text
    other = tmp_path / "other.txt"
    other.write_text("to be or not")  # nine characters to train on, and the context is 8
    given = ["data=text", f"data.path={other}", "data.val_fraction=0.5"]
    assert "over 5 tokens" in evaluate_run(run, "val", given)
    given[-1] = "data.val_fraction=0.01"
    assert "val has 1" in refusal(evaluate_run, run, "val", given)


@pytest.mark.parametrize(
    ("split", "overrides", "named"),
    [
        ("best", [], "--split"),
        ("test", [], "--split"),
        ("val", ["data.fraction=0.5"], "no data=... among them"),
        ("val", ["data=names", "data.val_fraction=0"], "data.val_fraction: 0.0 is not in"),
        ("val", ["data=names", "optim.lr=1"], "optim.lr=1 is none of data"),
    ],
)
def test_what_cannot_be_judged_is_refused(trained, split, overrides, named):
    assert named in refusal(evaluate_run, trained, split, overrides)


def test_a_text_that_has_changed_is_said_to_have(trained, documents, warnings):
    documents.write_text(documents.read_text() + "\nabel\n")
    evaluate_run(trained, "val", [])
    assert "has changed" in only(warnings())


def test_characters_that_the_run_does_not_know_are_refused(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("zzz\nabc\n" * 10)
    with pytest.raises(DataError, match="does not have 'z'"):
        evaluate_run(trained, "val", ["data=documents", f"data.path={other}"])


# The command line


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


@pytest.mark.parametrize(
    "given",
    [
        ["import", "x.json", "--from", "nanogpt"],
        ["export", "RUN", "--to", "nanogpt"],
        ["export", "RUN", "--to", "tensorboard", "--file", "x.json"],
    ],
)
def test_what_a_verb_does_not_know_is_refused(given):
    result = CliRunner().invoke(app, given)
    assert isinstance(result.exception, ConfigError)
    assert ONE_LINE.fullmatch(only(problem_lines(result.exception)))


def test_float64_weights_are_a_checkpoint_like_any_other(foreign, words, tmp_path):
    run = import_file(foreign, words, tmp_path / "outputs")
    state = checkpoint.Store(run / "checkpoints").best()
    assert {weight.dtype for weight in state["model"].values()} == {torch.float64}
    stored = microgpt.parse(foreign.read_text(), "foreign")
    assert checkpoint.digest(state["model"]) == checkpoint.digest(microgpt.to_state(stored))
