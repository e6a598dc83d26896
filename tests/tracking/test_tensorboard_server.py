"""The real TensorBoard reads what runs leave, by both of its readers, over HTTP."""

import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from event_files import PNG, scalars
from interruptions import Small, kill_before_step
from signalled_runs import terminate_after
from tensorboard_servers import Server, has_data_server

from gptexp.config import to_dict
from gptexp.experiment.run import run_experiment

pytestmark = pytest.mark.usefixtures("quick")

SERVERS: dict[bool, Server] = {}
RUNS: dict[str, Path] = {}  # whole, killed and interrupted


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("served") / "outputs"
    for server in SERVERS.values():
        server.close()


@pytest.fixture
def runs(small: Small, outputs: Path) -> dict[str, Path]:
    """A run that nothing stopped, one that was killed, and one that was interrupted."""
    if not RUNS:
        for seed, name in enumerate(("whole", "killed", "interrupted")):
            config = small("logger=tensorboard", "trainer.log_interval=1")
            config.seed = seed
            config.trainer.sample_top_k = [None, 20, 3][seed]
            config.model.bias = seed > 0
            if name == "killed":
                kill_before_step(config, outputs, 7)
            elif name == "interrupted":
                terminate_after(6, config, outputs)
            outcome = run_experiment(config, outputs)
            assert outcome.state == "done" and outcome.path is not None
            RUNS[name] = outcome.path
    return RUNS


@pytest.fixture(params=[False, True], ids=["slow", "fast"])
def server(request: pytest.FixtureRequest, outputs: Path, runs: dict[str, Path]) -> Server:
    """One for each way that TensorBoard has to read: in Python, and by its data server."""
    if request.param and not has_data_server():
        pytest.skip("TensorBoard's data server is not there for this system")
    if not SERVERS:  # both are started at once, since that takes a second each
        SERVERS[False] = of_tensorboard(outputs, fast=False)
        if has_data_server():
            SERVERS[True] = of_tensorboard(outputs, fast=True)
    SERVERS[request.param].wait_for("final/seconds", {shown_as(run) for run in runs.values()})
    return SERVERS[request.param]


def of_tensorboard(outputs: Path, fast: bool) -> Server:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(outputs)]
    return Server([*command, f"--load_fast={str(fast).lower()}", "--reload_interval=1"])


def shown_as(run: Path) -> str:
    return f"{run.parent.name}/{run.name}"


@pytest.mark.parametrize("name", ["whole", "killed", "interrupted"])
def test_F5_every_scalar_is_served_once(server: Server, runs: dict[str, Path], name: str) -> None:
    run = shown_as(runs[name])
    written = scalars(runs[name])
    assert set(server.json("plugin/scalars/tags")[run]) == set(written)
    for tag, points in written.items():
        served = server.json("plugin/scalars/scalars", run=run, tag=tag)
        assert [(step, value) for _, step, value in served] == points, tag
    steps = [step for step, _ in written["train/loss"]]
    assert steps == list(range(1, 13))


def test_samples_and_pictures_are_served(server: Server, runs: dict[str, Path]) -> None:
    run = shown_as(runs["interrupted"])
    tags = server.json("plugin/text/tags")[run]
    assert {"sample/text_summary", "final/sample/text_summary"} <= set(tags)
    served = server.json("plugin/text/text", run=run, tag="sample/text_summary")
    assert [entry["step"] for entry in served] == [6, 12]
    assert all("<pre><code>" in entry["text"] for entry in served)
    pictures = server.json("plugin/images/tags")[run]
    assert set(pictures) == {
        f"{prefix}{name}"
        for prefix in ("", "final/")
        for name in ("attention/layer_1", "next_token")
    }
    found = server.json("plugin/images/images", run=run, tag="attention/layer_1", sample=0)
    assert [image["step"] for image in found] == [6, 12]
    query = dict(urllib.parse.parse_qsl(found[0]["query"]))
    assert server.get("plugin/images/individualImage", **query).startswith(PNG)


def test_the_config_and_the_end_of_each_run_are_served(
    server: Server, runs: dict[str, Path], small: Small
) -> None:
    experiment_info = server.json("plugin/hparams/experiment", {"experimentName": ""})
    names = {info["name"] for info in experiment_info["hparamInfos"]}
    assert {"model.n_embd", "optim.lr", "seed", "data.path"} <= names
    assert not {"name", "rerun", "logger.name"} & names
    assert len(names) > len(to_dict(small())), "with dotted keys"
    groups = server.session_groups()
    assert {group["name"] for group in groups} == {shown_as(run) for run in runs.values()}
    for name, run in runs.items():
        [group] = [group for group in groups if group["name"] == shown_as(run)]
        assert group["hparams"]["model.n_embd"] == 16
        assert group["hparams"]["seed"] == list(runs).index(name)
        [session] = group["sessions"]
        assert session["name"] == shown_as(run), "the run itself, and not a second one"
        assert session["status"] == "STATUS_SUCCESS", name


def test_every_column_of_the_hyperparameters_sorts_and_filters(server: Server) -> None:
    """Also where some runs have a null: a word for it among the numbers would be an error 500."""
    server.check_columns()
    types = {info["name"]: info["type"].removeprefix("DATA_TYPE_") for info in server.columns()}
    assert types["trainer.sample_top_k"] == types["seed"] == "FLOAT64"
    assert (types["model.bias"], types["optim.name"]) == ("BOOL", "STRING")


def test_the_charts_of_training_and_validation_are_served(server: Server) -> None:
    page = server.json("plugin/custom_scalars/layout")
    charts = [chart for category in page["category"] for chart in category["chart"]]
    series = [one for chart in charts for one in chart["margin"]["series"]]
    assert [(one["value"], one["lower"]) for one in series] == [
        ("val/loss", "train/eval_loss"),
        ("by_tokens/val_loss", "by_tokens/train_loss"),
        ("by_milliepochs/val_loss", "by_milliepochs/train_loss"),
    ]
