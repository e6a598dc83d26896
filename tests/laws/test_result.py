"""fit.json: what stands in it, of the types that are promised."""

import json
from dataclasses import replace

import numpy as np
import pytest
from law_runs import CHINCHILLA

from gptexp.files import read_json
from gptexp.laws.forms import LAWS
from gptexp.laws.judge import Interval, judge_laws
from gptexp.laws.observed import Observations, Rejected, Rejections
from gptexp.laws.points import Points
from gptexp.laws.result import FitResult, write_result

LAW = LAWS["chinchilla"]


@pytest.fixture(scope="module")
def fitted():
    n, tokens = np.meshgrid([1e5, 3e5, 1e6, 3e6], [1e6, 3e6, 1e7, 3e7])
    points = Points.of(n.ravel(), tokens.ravel(), np.ones(16))
    noise = np.exp(0.001 * np.random.default_rng(0).normal(size=16))
    points = replace(points, loss=LAW.loss(CHINCHILLA, points) * noise)
    labels = [f"run {i}" for i in range(16)]
    observed = Observations(
        points, labels, Rejections([Rejected("x", "failed")]), ["note"], "N: all; T: seen"
    )
    return observed, judge_laws([LAW], points, draws=20)


def test_what_is_written_is_of_the_types_that_are_promised(fitted, tmp_path):
    observed, judged = fitted
    path = write_result(tmp_path, replace(observed, flops=np.ones(16)), judged, 20, 0)
    assert path == tmp_path / "fit.json"
    value = read_json(path, FitResult, "")
    assert value == json.loads(path.read_text())
    assert value["points"][3]["label"] == "run 3"
    assert value["points"][3]["n"] == observed.points.n[3]
    assert value["points"][3]["flops"] == 1
    assert value["rejected"] == [{"label": "x", "reason": "failed"}]
    assert value["rejected_counts"] == {"failed": 1}
    assert (value["level"], value["draws"], value["seed"], value["notes"]) == (0.9, 20, 0, ["note"])
    [law] = value["laws"]
    assert (law["name"], law["holds"], law["why_not"]) == ("chinchilla", True, "")
    assert set(law["parameters"]) == {"A", "B", "E", "alpha", "beta"}
    estimate = law["parameters"]["alpha"]
    assert estimate["value"] == judged[0].fit.values["alpha"]
    assert estimate["low"] < estimate["value"] < estimate["high"]
    assert law["held_out"]["models"]["rows"] == 4
    assert law["objective"] == judged[0].fit.objective


def test_what_is_not_finite_is_null(fitted, tmp_path):
    observed, [judged] = fitted
    wild = replace(
        judged, r2=float("nan"), intervals={**judged.intervals, "A": Interval(0, np.inf)}
    )
    value = read_json(write_result(tmp_path, observed, [wild], 20, 0), FitResult, "")
    assert value["laws"][0]["r2"] is None
    assert value["laws"][0]["parameters"]["A"]["high"] is None
