"""The folder of labelled links that `gptexp tensorboard` shows, without its server."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from event_files import values
from run_directories import put, write_board
from tensorboard.plugins.hparams import metadata

from gptexp.errors import ConfigError
from gptexp.interchange.links import LinkedFolder
from gptexp.tracking import hparams

pytestmark = pytest.mark.usefixtures("cache")


def names(linked: LinkedFolder) -> dict[str, Path]:
    """The links and where they lead."""
    return {p.name: p.resolve() for p in sorted(linked.path.iterdir()) if p.is_symlink()}


def columns(linked: LinkedFolder) -> Any:
    """What HParams is told of the runs."""
    [folder] = linked.path.glob("hparams-*")
    [(_, value)] = values(folder, "tensor")[metadata.EXPERIMENT_TAG]
    return metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)


def test_each_link_is_named_by_what_tells_its_run_from_the_others(tmp_path: Path) -> None:
    made = {
        f"n_layer={layers} lr={lr} s{seed}": write_board(
            tmp_path / "runs", seed, model__n_layer=layers, optim__lr=lr
        )
        for layers, lr, seed in ((1, 0.1, 0), (2, 0.1, 0), (2, 0.2, 1))
    }
    linked = LinkedFolder([tmp_path / "runs"])
    assert linked.update() == []
    assert names(linked) == made
    assert linked.path.parent == tmp_path / "cache" / "gptexp" / "tensorboard"
    assert not any(path.is_symlink() for path in (tmp_path / "runs").rglob("*"))


def test_links_follow_the_runs_that_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    first = write_board(folder, optim__lr=0.1)
    linked = LinkedFolder([folder])
    linked.update()
    assert names(linked) == {first.name: first}
    assert not list(linked.path.glob("hparams-*")), "nothing varies"
    second = write_board(folder, optim__lr=0.2)
    linked.update()
    assert names(linked) == {"lr=0.1": first, "lr=0.2": second}
    third = write_board(folder, 1, optim__lr=0.2)
    linked.update()
    assert names(linked) == {"lr=0.1 s0": first, "lr=0.2 s0": second, "lr=0.2 s1": third}
    [before] = linked.path.glob("hparams-*")
    shutil.rmtree(third)
    linked.update()
    assert names(linked) == {"lr=0.1": first, "lr=0.2": second}
    [after] = linked.path.glob("hparams-*")
    assert after != before, "TensorBoard reads the columns of a run once"
    linked.update()
    assert list(linked.path.glob("hparams-*")) == [after]


def test_other_boards_beside_the_runs_come_along_and_runs_moved_aside_do_not(
    tmp_path: Path,
) -> None:
    run = write_board(tmp_path / "a")
    for name in ("a", "b"):
        (tmp_path / name / "scaling-f1").mkdir(parents=True)
        put(tmp_path / name / "scaling-f1", "events.out.tfevents.1", "")
    shutil.copytree(run, run.with_name(f"{run.name}.old1"))
    linked = LinkedFolder([tmp_path / "a"])
    linked.update()
    assert [*names(linked)] == [run.name, "scaling-f1"]
    write_board(tmp_path / "b", 1)
    both = LinkedFolder([tmp_path / "a", tmp_path / "b"])
    both.update()
    assert [*names(both)] == ["s0", "s1", "scaling-f1 a", "scaling-f1 b"]


def test_names_are_legal_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    odd = ["../../etc", "a\nb", "x" * 300, "größe:1%", ".hidden"]
    for number, path in enumerate(odd):
        write_board(folder, init_from=path, data_sha256=f"{number}" * 64)
    linked = LinkedFolder([folder])
    linked.update()
    shown = names(linked)
    assert len(shown) == len(odd)
    assert all(len(os.fsencode(name)) < 200 and name.isprintable() for name in shown)
    assert {"init_from=..%2F..%2Fetc", "init_from=a%0Ab", "init_from=größe%3A1%25"} < shown.keys()


def test_HParams_is_told_what_varies_and_the_best_loss_before_other_metrics(
    tmp_path: Path,
) -> None:
    for layers, bias, tokens, norm in (
        (1, True, None, "layernorm"),
        (2, True, 900, "rmsnorm"),
        (2, False, 400, "rmsnorm"),
    ):
        keys = {"model__n_layer": layers, "model__bias": bias, "model__norm": norm}
        write_board(tmp_path / "runs", trainer__max_tokens=tokens, **keys)
    linked = LinkedFolder([tmp_path / "runs"])
    linked.update()
    found = columns(linked)
    told = {info.name: info for info in found.hparam_infos}
    assert set(told) == {"model.n_layer", "model.bias", "model.norm", "trainer.max_tokens"}
    domains = {info.display_name: [*info.domain_discrete] for info in told.values()}
    assert domains == {
        "n_layer": [1, 2],
        "bias": [False, True],
        "norm": ["layernorm", "rmsnorm"],
        "max_tokens": [400, 900],
    }
    assert {n.rpartition(".")[2] for n, info in told.items() if info.differs} == {
        word.partition("=")[0] for label in names(linked) for word in label.split()
    }, "what follows from the labels comes after it"
    metrics = [info.name.tag for info in found.metric_infos]
    assert metrics[0] == "final/best_val_loss" and "val/loss" in metrics[:5]


def test_a_key_of_many_values_has_a_range_and_one_of_several_kinds_no_column() -> None:
    configs = [{"seed": seed, "odd": "x" if seed else 1, "p": "\udce9"} for seed in range(20)]
    names = {"seed": "seed", "odd": "odd", "p": "path"}
    summary = hparams.experiment(configs, names, ["seed"])
    [value] = summary.value
    found = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    info, path = found.hparam_infos
    assert [*path.domain_discrete] == ["\\udce9"], "no UTF-8 has a half of a pair"
    assert (info.domain_interval.min_value, info.domain_interval.max_value) == (0, 19)


def test_a_damaged_run_is_a_note_and_the_others_are_linked(tmp_path: Path) -> None:
    runs = [write_board(tmp_path / "runs", optim__lr=lr) for lr in (0.1, 0.2, 0.3)]
    put(runs[0], "summary.json", "{")
    put(runs[1], "summary.json", "{")
    put(runs[1], "config.yaml", "- a list")
    linked = LinkedFolder([tmp_path / "runs"])
    assert len(linked.update()) == 2
    assert names(linked) == {"lr=0.1": runs[0], "lr=0.3": runs[2]}


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no runs"):
        LinkedFolder([tmp_path]).update()
