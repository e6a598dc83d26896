"""The points of a sweep: those that are shipped, those of a grid, and those that are refused."""

import os
import re
import subprocess
import sys

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from interruptions import before
from small_runs import ROOT, SMALL, only
from sweep_runs import states

from gptexp.config import Config, compose, config_hash, grid, problems

NO_DATA = "0" * 64

SHIPPED = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_point_of_a_shipped_sweep_is_legal_and_a_run_of_its_own(name):
    found = [config for _, config in grid.of_command([f"sweeps={name}"])]
    assert len(found) > 1
    for config in found:
        assert isinstance(config, Config)
        assert problems(config) == []
        assert config.name == name
    assert len({config_hash(config, NO_DATA) for config in found}) == len(found)
    second = (ROOT / "sweeps" / f"{name}.yaml").read_text().splitlines()[1]
    expected = (
        rf"# `python run\.py sweeps={name}`: {len(found)} points, about (a minute|\d+ minutes) .*"
    )
    assert re.fullmatch(expected, second)


def test_sweeps_is_a_group_of_conf_by_a_link():
    assert (ROOT / "conf" / "sweeps").is_symlink()
    assert (ROOT / "conf" / "sweeps").readlink().as_posix() == "../sweeps"


@pytest.mark.slow
def test_the_command_line_narrows_a_shipped_sweep(points):
    """And `gptexp plan` finds the points that run.py trains."""
    words = ["sweeps=layers_heads", "model.n_layer=2", "optim.lr=0.5", "name=mine"]
    whole, part = points(words[0]), points(*words)
    GlobalHydra.instance().clear()
    assert grid.of_command(words[:1]) == [(p.overrides, p.config) for p in whole]
    assert grid.of_command(words) == [(p.overrides, p.config) for p in part]
    depths = sorted({point.config.model.n_layer for point in whole})
    assert len(depths) > 1
    assert {point.config.model.n_layer for point in part} == {2}
    assert len(part) == len(whole) / len(depths)
    assert {(point.config.optim.lr, point.config.name) for point in part} == {(0.5, "mine")}


@pytest.mark.slow
def test_a_shipped_sweep_runs(command, text_file):
    small = [item for item in SMALL if not item.startswith(("model.n_layer", "model.n_head"))]
    result = command(
        "sweeps=layers_heads", *small, f"data.path={text_file}", "model.n_head=2", "model.n_layer=1"
    )
    assert result.code == 0
    assert states(result.out) == ["done"]


@pytest.mark.slow
def test_the_points_are_what_hydra_would_compose(points):
    given = ["model=tiny,laptop", "optim=sgd,adamw", "optim.lr=1e-3,0.5", "seed=1,2"]
    given += ["logger.tags=[a,b]", "trainer.sample_top_k=null,3"]
    found = points("-m", *given)
    assert len(found) == 32
    GlobalHydra.instance().clear()
    for point in found[::13]:
        assert point.config == compose.from_overrides(point.overrides)


@pytest.mark.slow
def test_hydra_composes_once_for_each_combination_of_choices(points, monkeypatch):
    composed = []
    before(ConfigLoaderImpl, "load_sweep_config", lambda *_: composed.append(1), monkeypatch)
    assert len(points("-m", "model=tiny,laptop", "seed=range(0,10)")) == 20
    assert len(composed) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["optim=adamw,sgd", "optim.beta1=0.9"], "optim.beta1: no such key"),
        (["model.n_layer=1,x"], "model.n_layer: "),
        (["model=tiny,meduim"], "model=meduim: "),
        (["trainer.on_overfit=stop,panic"], "trainer.on_overfit: "),
        (["seed=1,2", "+model.n_embdd=3"], "model.n_embdd: no such key"),
    ],
)
def test_a_wrong_key_type_or_choice_of_one_point_refuses_the_whole_sweep(refused, arguments, named):
    assert only(refused("-m", *arguments)).startswith(named)


@pytest.mark.slow
def test_a_value_that_is_missing_in_one_point_is_a_bad_point(command_runs, text_file):
    result = command_runs("data.path=???," + str(text_file), "seed=1")
    assert (result.code, states(result.out)) == (1, ["refused", "done"])


@pytest.mark.slow
def test_checking_200_bad_points_takes_no_torch(tmp_path):
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: print('code', end.code, 'torch' in sys.modules)"
    )
    command = [str(ROOT / "run.py"), "-m", "optim.lr=-1", "seed=range(0,200)"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "code 1 False", done.stderr
    assert states(done.stdout) == ["refused"] * 200
    assert not (tmp_path / "outputs").exists()
