"""The real TensorBoard reads what runs leave, by both of its readers, over HTTP."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_files import PNG, scalars
from interruptions import Small, kill_before_step
from signalled_runs import terminate_after

from gptexp.config import to_dict
from gptexp.experiment.run import run_experiment

pytestmark = pytest.mark.usefixtures("quick")

SECONDS = 60  # for a server to start and to have read everything
STATUSES = [f"STATUS_{word}" for word in ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")]


class Server:
    """`tensorboard --logdir outputs`, and what it answers."""

    def __init__(self, outputs: Path, fast: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}/data"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tensorboard.main"),
                *("--logdir", str(outputs)),
                *("--host", "127.0.0.1", "--port", self.url.split(":")[2].split("/")[0]),
                f"--load_fast={str(fast).lower()}",
                "--reload_interval=1",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, body: Any = None, **query: Any) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(
            f"{self.url}/{path}?{urllib.parse.urlencode(query)}",
            data,
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(question, timeout=SECONDS) as answer:
            return answer.read()

    def json(self, path: str, body: Any = None, **query: Any) -> Any:
        return json.loads(self.get(path, body, **query))

    def wait(self, tag: str, runs: set[str]) -> None:
        """Until `tag`, which comes late in a file, has been read of each of the runs."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                found = self.json("plugin/scalars/tags")
                if {run for run, tags in found.items() if tag in tags} == runs:
                    return
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)


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
            if name == "killed":
                kill_before_step(config, outputs, 7)
            elif name == "interrupted":
                terminate_after(6, config, outputs)
            outcome = run_experiment(config, outputs)
            assert outcome.state == "done" and outcome.directory is not None
            RUNS[name] = outcome.directory
    return RUNS


@pytest.fixture(params=[False, True], ids=["slow", "fast"])
def server(request: pytest.FixtureRequest, outputs: Path, runs: dict[str, Path]) -> Server:
    """One for each way that TensorBoard has to read: in Python, and by its data server."""
    if request.param and not has_data_server():
        pytest.skip("TensorBoard's data server is not there for this system")
    if not SERVERS:  # both are started at once, since that takes a second each
        SERVERS[False] = Server(outputs, fast=False)
        if has_data_server():
            SERVERS[True] = Server(outputs, fast=True)
    SERVERS[request.param].wait("final/seconds", {shown_as(run) for run in runs.values()})
    return SERVERS[request.param]


def has_data_server() -> bool:
    try:
        import tensorboard_data_server
    except ImportError:
        return False
    return tensorboard_data_server.server_binary() is not None


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
    question = {
        "experimentName": "",
        "allowedStatuses": STATUSES,
        "colParams": [],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = server.json("plugin/hparams/session_groups", question)["sessionGroups"]
    sessions = {group["name"]: group["sessions"] for group in groups}
    assert set(sessions) == {run.name for run in runs.values()}
    for name, run in runs.items():
        [group] = [group for group in groups if group["name"] == run.name]
        assert group["hparams"]["model.n_embd"] == 16
        assert group["hparams"]["seed"] == list(runs).index(name)
        [session] = group["sessions"]
        assert session["name"] == shown_as(run), "the run itself, and not a second one"
        assert session["status"] == "STATUS_SUCCESS", name


def test_the_charts_of_training_and_validation_are_served(server: Server) -> None:
    page = server.json("plugin/custom_scalars/layout")
    charts = [chart for category in page["category"] for chart in category["chart"]]
    assert [chart["multiline"]["tag"] for chart in charts] == [
        ["train/eval_loss", "val/loss"],
        ["by_tokens/train_loss", "by_tokens/val_loss"],
        ["by_milliepochs/train_loss", "by_milliepochs/val_loss"],
    ]
