"""A law on TensorBoard and W&B."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from judged_laws import observed, repeated
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_runs import history, of, offline_folders, records, summary_of

from gptexp.report import law_board

PNG = b"\x89PNG"


@pytest.fixture
def saved(tmp_path):
    """Pictures as law_figures.draw_law leaves them."""
    for name in ("law_curves.png", "law_curves.svg"):
        (tmp_path / name).write_bytes(PNG)
    return [tmp_path / name for name in ("law_curves.png", "law_curves.svg")]


def publish(folder, saved, **logger):
    folder.mkdir(exist_ok=True)
    points, judged = repeated()
    runs = [SimpleNamespace(config={f"logger.{key}": value}) for key, value in logger.items()]
    law_board.publish(folder, runs, observed(points, "uncertified: lr"), judged, saved)
    return folder / "law"


def test_tensorboard_has_a_run_with_parameters_curves_and_pictures(tmp_path, saved):
    board = EventAccumulator(str(publish(tmp_path / "scaling", saved, tensorboard=True)))
    board.Reload()
    points, [best, other] = repeated()
    for tag, value in {
        "law_overfitting/alpha": best.fit.values["alpha"],
        "law_overfitting/alpha_low": best.intervals["alpha"].low,
        "law_overfitting/alpha_high": best.intervals["alpha"].high,
        "law_overfitting/held_out_models": best.held_out["models"].error,
        "law_chinchilla/r2": other.r2,
    }.items():
        assert [event.value for event in board.Scalars(tag)] == [pytest.approx(value, rel=1e-6)]
    curve = board.Scalars("law_loss/20k unique, 100 epochs")
    assert curve[0].step < points.n.min() < points.n.max() < curve[-1].step
    assert [event.step for event in curve] == sorted(event.step for event in curve)
    [picture] = board.Images("law/curves")
    assert picture.encoded_image_string == PNG
    [first] = board.Tensors(law_board.FIRST)
    assert b"uncertified: lr" in first.tensor_proto.string_val[0]


def test_a_second_fit_takes_the_place_of_the_first(tmp_path, saved):
    for _ in range(2):
        path = publish(tmp_path / "scaling", saved, tensorboard=True)
    assert len(list(path.iterdir())) == 1


def test_runs_without_dashboards_leave_none(tmp_path, saved):
    path = publish(tmp_path / "scaling", saved, tensorboard=False, wandb=False)
    assert not path.exists()


def test_a_dashboard_that_fails_is_a_warning(tmp_path, saved, caplog, monkeypatch):
    def fails(path, shown):
        raise RuntimeError("no disk\nat all")

    monkeypatch.setattr(law_board, "to_wandb", fails)
    with caplog.at_level(logging.WARNING, "gptexp"):
        path = publish(tmp_path / "scaling", saved, tensorboard=True, wandb=True)
    folder = tmp_path / "scaling"
    assert caplog.messages == [f"W&B has no law of {folder}: no disk"]
    assert len(list(path.iterdir())) == 1


@pytest.mark.slow
def test_wandb_has_a_run_in_the_group_of_the_sweep(tmp_path, saved, monkeypatch):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(saved[0])
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    path = publish(tmp_path / "scaling", saved, wandb=True)
    [folder] = offline_folders(Path(path))
    found = records(folder)
    [run] = of(found, "run")
    assert (run["project"], run["run_group"], run["job_type"]) == ("mine", "scaling", "law")
    curve = [item for item in history(found) if "law_loss/20k unique, 100 epochs" in item]
    _, [best, _] = repeated()
    assert len(curve) > 50
    assert curve[0]["parameters"] < curve[-1]["parameters"]
    assert any("law/curves._type" in item for item in history(found))
    assert summary_of(found)["law_overfitting/alpha"] == pytest.approx(best.fit.values["alpha"])
