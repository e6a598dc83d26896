"""`gptexp tensorboard`: what it says, passes on and refuses; and its server, asked over HTTP."""

import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_directories import put, write_board, write_run
from small_runs import ROOT, Result
from tensorboard_servers import SECONDS, Server, has_data_server

from gptexp.interchange import board, links

pytestmark = pytest.mark.usefixtures("cache")

Call = Callable[..., Result]


@pytest.fixture
def gptexp_tensorboard(monkeypatch: pytest.MonkeyPatch, gptexp: Call) -> Call:
    """`gptexp tensorboard ...` in this process, ended by Ctrl-C before its second look."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(board, "follow", interrupted)
    return lambda *arguments: gptexp("tensorboard", *arguments)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the server would have been given; there is none."""
    given: list[str] = []

    def start(_: Path, options: list[str]) -> str:
        given[:] = options
        return "http://localhost:6006/"

    monkeypatch.setattr(board, "start", start)
    return given


def test_the_verb_says_where_to_look_and_passes_options_on(
    tmp_path: Path, gptexp_tensorboard: Call, options: list[str]
) -> None:
    write_board(tmp_path / "runs")
    write_run(tmp_path / "runs", 1)
    result = gptexp_tensorboard(tmp_path / "runs", "--port", "7001", "--bind_all", "--host=::")
    assert (result.code, result.err) == (0, "")
    assert options == ["--bind_all", "--port=7001", "--host=::"]
    lacking = "1 without event files: gptexp export RUN --to tensorboard writes them"
    assert f"runs    2 runs, {lacking}; links in {tmp_path}" in result.out
    assert "open    http://localhost:6006/?smoothing=0    (Ctrl-C ends it)" in result.out


@pytest.mark.usefixtures("options")
def test_after_damage_the_verb_ends_with_2(tmp_path: Path, gptexp_tensorboard: Call) -> None:
    put(write_board(tmp_path / "runs"), "summary.json", "{")
    result = gptexp_tensorboard(tmp_path / "runs")
    assert result.code == 2
    assert result.err.count("summary.json: damaged") == 1


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: not there. Fix: name a run directory or a folder of them"),
        (["--bind_all"], "gptexp tensorboard: no folder. Fix: name one, such as outputs/default"),
        ([], "Missing argument"),
    ],
)
def test_the_verb_refuses_what_is_no_folder_of_runs(
    tmp_path: Path,
    gptexp_tensorboard: Call,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = gptexp_tensorboard(*arguments)
    assert result.code == 2
    [line] = result.errors
    assert said in line


def test_a_port_that_is_taken_and_an_unknown_option_are_one_line(
    tmp_path: Path, gptexp_tensorboard: Call
) -> None:
    write_board(tmp_path / "runs")
    once = ["--load_fast=false", "--reload_interval=0"]  # no thread or process outlives the test
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        where = ["--host=127.0.0.1", f"--port={port}"]
        result = gptexp_tensorboard(tmp_path / "runs", *where, *once)
    [line] = result.errors
    assert result.code == 2
    assert line.startswith(f"--port: TensorBoard could not bind to port {port}")
    result = gptexp_tensorboard(tmp_path / "runs", "--prot=7", *once)
    [line] = result.errors
    assert result.code == 2
    assert "unrecognized arguments: --prot=7" in line


def test_without_tensorboard_the_verb_says_how_to_get_it(
    tmp_path: Path, gptexp_tensorboard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_board(tmp_path / "runs")
    for module in (links, sys.modules["gptexp.tracking.hparams"]):
        monkeypatch.delitem(sys.modules, module.__name__)
        monkeypatch.delattr(f"{module.__name__}")
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.summary_pb2", None)
    result = gptexp_tensorboard(tmp_path / "runs")
    assert result.code == 2
    [line] = result.errors
    assert line.startswith("tensorboard: ") and line.endswith(". Fix: pip install tensorboard")


@pytest.mark.usefixtures("options")
def test_a_file_where_the_links_are_to_be_is_one_line(
    tmp_path: Path, cache: Path, gptexp_tensorboard: Call
) -> None:
    write_board(tmp_path / "runs")
    cache.mkdir()
    put(cache, "gptexp", "")
    result = gptexp_tensorboard(tmp_path / "runs")
    assert result.code == 4
    [line] = result.errors
    assert "a file where a folder is to be" in line


def test_what_goes_wrong_later_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_board(tmp_path / "runs")
    linked = links.LinkedFolder([tmp_path / "runs"])
    linked.update()
    acts: list[Callable[[], object]] = [
        lambda: put(run, "summary.json", "{"),
        lambda: None,
        lambda: shutil.rmtree(run),
        lambda: None,
        lambda: write_board(tmp_path / "runs", 5),
    ]

    def sleep(_: float) -> None:
        if not acts:
            raise KeyboardInterrupt
        acts.pop(0)()

    monkeypatch.setattr(board.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        board.follow(linked, set())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "summary.json: damaged" in said[0] and "holds no runs" in said[1]
    assert len([path for path in linked.path.iterdir() if path.is_symlink()]) == 1


SERVERS: dict[bool, Server] = {}  # of `gptexp tensorboard`, by whether it reads fast
RUNS: dict[bool, dict[str, Path]] = {}  # what each of them shows, by label


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("served")
    for server in SERVERS.values():
        server.close()


@pytest.fixture(params=[False, True], ids=["slow", "fast"])
def fast(request: pytest.FixtureRequest, served: Path) -> bool:
    """Whether TensorBoard reads by its data server, or in Python; both are there."""
    if request.param and not has_data_server():
        pytest.skip("TensorBoard's data server is not there for this system")
    if not SERVERS:  # both are started at once, since that takes seconds each
        for fast in {False, has_data_server()}:
            folder = served / str(fast)
            RUNS[fast] = runs_in(folder)
            SERVERS[fast] = serve(folder, fast)
    return request.param


@pytest.fixture
def server(fast: bool) -> Server:
    SERVERS[fast].wait_for("final/seconds", {*RUNS[fast]})
    return SERVERS[fast]


def runs_in(folder: Path) -> dict[str, Path]:
    """Runs that mix nulls and numbers, truth and words, by their labels."""
    made = {}
    for lr, seed in ((0.01, 0), (0.01, 1), (0.002, 0)):
        for bias, tokens in ((True, None), (False, 900)):
            keys = {"optim__lr": lr, "model__bias": bias, "trainer__max_tokens": tokens}
            keys["model__norm"] = "layernorm" if bias else "rmsnorm"
            run = write_board(folder, seed, best=2 + lr + seed / 10, **keys)
            made[f"bias={str(bias).lower()} lr={lr} s{seed}"] = run
    return made


def serve(folder: Path, fast: bool) -> Server:
    command = [sys.executable, "-m", "gptexp.cli", "tensorboard", str(folder)]
    options = [f"--load_fast={str(fast).lower()}", "--reload_interval=1"]
    cache = folder.with_name(f"cache-{folder.name}")
    return Server([*command, *options], XDG_CACHE_HOME=str(cache), PYTHONPATH=str(ROOT))


@pytest.mark.slow
def test_runs_are_served_by_their_labels(server: Server, fast: bool) -> None:
    assert {*RUNS[fast]} < {*server.json("runs")}
    assert {group["name"] for group in server.session_groups()} == {*RUNS[fast]}


def test_HParams_shows_what_varies_and_the_best_loss_first(server: Server) -> None:
    shown = server.json("plugin/hparams/experiment", {"experimentName": ""})
    names = [(info["displayName"], info["differs"]) for info in shown["hparamInfos"]]
    assert names == [
        *(("bias", True), ("lr", True), ("seed", True)),
        *(("norm", False), ("max_tokens", False)),
    ]
    assert shown["metricInfos"][0]["name"]["tag"] == "final/best_val_loss"
    [row] = [row for row in server.session_groups() if row["name"] == "bias=false lr=0.002 s0"]
    assert row["hparams"]["seed"] == 0 and row["hparams"]["trainer.max_tokens"] == 900
    metrics = {metric["name"]["tag"]: metric["value"] for metric in row["metricValues"]}
    assert metrics["final/best_val_loss"] == pytest.approx(2.002)


def test_every_column_sorts_and_filters_though_some_runs_have_none(server: Server) -> None:
    server.check_columns()
    lacking = [row for row in server.session_groups() if "trainer.max_tokens" not in row["hparams"]]
    assert len(lacking) == 3, "a null is no value"


@pytest.mark.slow
def test_a_server_that_runs_follows_what_comes_and_goes_until_ctrl_c(
    server: Server, fast: bool
) -> None:
    runs = RUNS.pop(fast)
    folder = next(iter(runs.values())).parent
    shutil.rmtree(runs.pop("bias=true lr=0.002 s0"))
    shutil.rmtree(runs.pop("bias=false lr=0.002 s0"))
    write_board(folder, 2, optim__lr=0.01, model__n_layer=2)
    left = {"n_layer=4 bias=true s0", "n_layer=4 bias=true s1", "n_layer=2 bias=true s2"}
    left |= {"n_layer=4 bias=false s0", "n_layer=4 bias=false s1"}
    server.until(lambda: {run for run in server.json("runs") if run[0] != "h"} == left)
    shown = {"n_layer", "bias", "seed", "norm", "max_tokens"}
    server.until(lambda: {info["displayName"] for info in server.columns()} == shown)
    server.process.send_signal(signal.SIGINT)
    said, _ = server.process.communicate(timeout=SECONDS)
    assert server.process.returncode == 0
    assert f"open    {server.url.removesuffix('data')}?smoothing=0" in said
