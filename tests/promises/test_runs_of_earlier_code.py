"""Runs that an earlier gptexp left are seen, compared, sampled and taken up as they were by it.

fixtures/runs_of_flat_code.tar.xz holds what the last commit before the package had wings left of
the commands below, stopped by Ctrl-C where they are interrupted; of the sweep, two points.
"""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from event_files import board, ends, expected_curves, scalars
from small_runs import ROOT, Result, metrics, only, summary
from sweep_runs import states, table

from gptexp.runs.journal import evaluations

pytestmark = pytest.mark.usefixtures("quick")

Command = Callable[..., Result]

SMALL = [
    "data=text",
    "data.path=text.txt",
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_embd=8",
    "model.block_size=8",
    "model.dropout=0.1",
    "schedule.warmup_steps=2",
    "trainer.max_steps=12",
    "trainer.batch_size=4",
    "trainer.eval_interval=4",
    "trainer.log_interval=3",
    "trainer.sample_interval=6",
    "trainer.sample_tokens=8",
    "trainer.device=cpu",
    "trainer.threads=1",
]
# What experiment=ladder_bigram stood for: a count by one step of plain SGD after the other.
BIGRAM = [
    "name=bigram",
    "model=bigram",
    "model.block_size=16",
    "data=documents",
    "data.path=names.txt",
    "optim=sgd",
    "optim.lr=1",
    "optim.weight_decay=0",
    "optim.momentum=0",
    "schedule=constant",
    "schedule.warmup_steps=0",
    "trainer.max_steps=40",
    "trainer.batch_size=1",
    "trainer.grad_clip=0",
    "trainer.eval_interval=10",
    "trainer.sample_documents=2",
    "trainer.sample_temperature=0.5",
    "trainer.on_overfit=observe",
    "trainer.device=cpu",
    "trainer.threads=1",
    "logger=none",
]
DONE = Path("outputs/done/laptop-text-f1-s0-d83ed27a")
INTERRUPTED = Path("outputs/interrupted/laptop-text-f1-s0-d83ed27a")
COUNTED = Path("outputs/bigram/bigram-documents-f1-s0-874ff82e")
POINTS = [Path(f"outputs/sweep/laptop-text-f1-s{n}") for n in ("0-a8d822cd", "1-778d60a5")]

# Best and final validation loss of the same commands where nothing interrupted them, and how near
# they are met: the masks of dropout were drawn otherwise then.
STRAIGHT = {
    INTERRUPTED: (2.7487610797492827, 2.7487610797492827, 1e-3),
    COUNTED: (2.590476481119792, 2.7167380650838218, 1e-6),
}


@pytest.fixture
def run_py(command: Command) -> Command:
    """`run_py("name=done")`: the command, in a folder with the earlier runs."""
    with tarfile.open(ROOT / "tests" / "fixtures" / "runs_of_flat_code.tar.xz") as archive:
        archive.extractall(filter="data")
    return command


@pytest.fixture
def gptexp(run_py: Command, gptexp: Callable[..., Result]) -> Callable[..., list[str]]:
    """`gptexp("table", "outputs")`: the lines that the command shows in that folder."""

    def call(*arguments: object) -> list[str]:
        code, out, err = gptexp(*arguments)
        assert (code, err) == (0, "")
        return out.splitlines()

    return call


def test_they_stand_in_a_table_with_their_states_and_losses(gptexp):
    table = json.loads("\n".join(gptexp("table", "outputs", "--format", "json")))
    runs = {row["run"]: row for row in table["rows"]}
    for run in (COUNTED, INTERRUPTED):  # their best so far
        losses = [line["val/loss"] for line in evaluations(run)]
        assert runs[str(run)].pop("best") == min(losses)
    assert {name: (row["state"], row.get("best"), row["final"]) for name, row in runs.items()} == {
        str(COUNTED): ("interrupted", None, None),
        str(DONE): ("done", 2.7487610797492827, 2.7487610797492827),
        str(INTERRUPTED): ("interrupted", None, None),
        str(POINTS[0]): ("done", 2.639286553778616, 2.639286553778616),
        str(POINTS[1]): ("done", 2.620963816740075, 2.620963816740075),
    }
    assert [note.partition(": ")[0] for note in table["notes"]] == [str(COUNTED), str(INTERRUPTED)]


def test_means_over_seeds_are_those_of_then(gptexp):
    head, row = gptexp("table", "outputs/sweep", "--by", "optim.lr")
    assert " ".join(head.split()) == "lr runs params best best_step final height"
    best = "2.6301 ± 0.1164"
    assert " ".join(row.split()) == f"0.01 2 1,080 {best} 12 ± 0 {best} 0.0000 ± 0.0000"


def test_two_of_them_part_where_they_parted_then(gptexp):
    assert gptexp("diff", *POINTS) == [
        f"a  {POINTS[0]}  (done)",
        f"b  {POINTS[1]}  (done)",
        "config, hashed  a  b",
        "  seed          0  1",
        "config, not hashed  the same",
        "data  the same",
        "code  the same",
        "environment  the same",
        "losses  part at step 0",
        "  train/eval_loss  2.780155000232515  2.7759951831532175",
        "  val/loss         2.774278705622874  2.779789684581108",
        "weights  a             b",
        "  best   8e3083e711ba  ab20f80b2630",
        "  final  8e3083e711ba  ab20f80b2630",
    ]


def test_a_report_of_them_holds_their_numbers(gptexp):
    assert gptexp("report", "outputs/sweep") == ["wrote outputs/sweep/report/index.html"]
    facts = json.loads(Path("outputs/sweep/report/report.json").read_text())["facts"]
    assert facts["best"] == ["2.6210 nats per token at step 12 (all runs, seed 1)"]
    assert facts["code"] == ["commit 49166cd63c25, torch 2.13.0+cpu, on cpu"]
    assert facts["n-grams"][0].startswith("1: 2.5509, 2: 1.2898, 3: 0.7557, 4: 0.7103, 5: 0.7401 ")


@pytest.mark.parametrize("run", [DONE, INTERRUPTED], ids=["done", "interrupted"])
def test_a_board_is_written_again_from_their_journals(gptexp, run):
    before = board(run)
    assert gptexp("export", run, "--to", "tensorboard") == []
    assert board(run) == before
    assert {tag for tag in scalars(run) if not tag.startswith("final/")} == {*expected_curves(run)}


def test_they_are_sampled_as_they_were(gptexp):
    assert "\n".join(gptexp("sample", DONE, "--tokens", 40, "--seed", 3)) == (
        "\n\ni\nuuhtehtawlo\niaaqiheareql iquwwwb\nnreq"
    )
    assert "\n".join(gptexp("sample", INTERRUPTED, "--tokens", 40)) == (
        "\niioqqt\nb\ninr lir rweouunaasel\nbbbqeotlbb"
    )
    names = gptexp("sample", COUNTED, "--num", 3)
    assert names == ["lkocaskrsmkcaobr", "nccrsltaerc", "ketls"]


@pytest.mark.parametrize(
    ("run", "loss", "bits", "stderr", "tokens"),
    [
        (DONE, "2.7488", "3.966", "0.0043", 147),
        (INTERRUPTED, "2.7630", "3.986", "0.0038", 147),
        (COUNTED, "2.5905", "3.737", "0.0550", 30),
    ],
    ids=["done", "interrupted", "bigram"],
)
def test_they_evaluate_to_what_they_did(gptexp, run, loss, bits, stderr, tokens):
    assert only(gptexp("evaluate", run)).startswith(
        f"val     {loss} nats per token ({bits} bits per byte), standard error {stderr}, "
        f"over {tokens} tokens of "
    )


def test_a_done_run_is_returned_at_once_with_a_word_on_its_code(run_py):
    files = {path: path.read_bytes() for path in DONE.rglob("*") if path.is_file()}
    result = run_py(*SMALL, "name=done")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("already done, by other code: ")
    assert {path: path.read_bytes() for path in DONE.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("run", "overrides", "step"),
    [(INTERRUPTED, [*SMALL, "name=interrupted"], "7 of 12"), (COUNTED, BIGRAM, "26 of 40")],
    ids=["gpt", "bigram"],
)
def test_P2_an_interrupted_run_goes_on_from_its_step_to_the_losses_of_the_straight_one(
    run_py, run, overrides, step
):
    result = run_py(*overrides)
    assert result.code == 0, result.err
    assert f"resume  at step {step}\n" in result.out
    warning = only(result.err.splitlines())
    assert warning.startswith("gptexp: warning: environment differs: ")
    assert " code of " in warning and re.search(r" and \d+ more", warning)
    assert list(run.parent.iterdir()) == [run]
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    found = summary(run)
    losses = (found["best"]["val_loss"], found["final"]["val_loss"])
    *expected, tolerance = STRAIGHT[run]
    assert losses == pytest.approx(tuple(expected), rel=0, abs=tolerance)
    evaluated = [line["step"] for line in metrics(run) if "val/loss" in line]
    assert evaluated == list(range(0, evaluated[1] * len(evaluated), evaluated[1]))


def test_F5_the_board_of_a_run_that_goes_on_is_whole(run_py):
    assert run_py(*SMALL, "name=interrupted").code == 0
    shown = {tag: points for tag, points in scalars(INTERRUPTED).items() if "final/" not in tag}
    assert shown == expected_curves(INTERRUPTED)
    assert len(ends(INTERRUPTED)) == 1


def test_G4_a_sweep_typed_again_with_a_seed_more_keeps_its_points(run_py):
    kept = {path: path.read_bytes() for run in POINTS for path in run.rglob("*.*")}
    result = run_py("-m", *SMALL, "name=sweep", "logger=none", "optim.lr=1e-2", "seed=0,1,2")
    assert result.code == 0, result.err
    assert "3 points: 2 already done, 1 done\n" in result.out
    assert states(result.out) == ["already done", "already done", "done"]
    notes = [", by other code: " in row.rest for row in table(result.out)]
    assert notes == [True, True, False]
    assert {path: path.read_bytes() for run in POINTS for path in run.rglob("*.*")} == kept
    assert len(list(Path("outputs/sweep").glob("laptop-*"))) == 3
