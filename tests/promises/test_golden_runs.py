"""R6: tiny runs keep their curves, to the bit where they were recorded, nearly so elsewhere."""

import io
import json
import tarfile
from pathlib import Path

import golden_runs
import pytest
import torch
from small_runs import ROOT

from gptexp.runs import checkpoint

GOLDEN = json.loads(golden_runs.FILE.read_text(encoding="utf-8"))
ELSEWHERE = 1e-3  # of a value, after 50 steps of float32 that another machine rounds otherwise


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_R6_a_fixed_config_has_the_losses_that_were_recorded(name: str, tmp_path: Path) -> None:
    golden_runs.write_corpora(tmp_path)
    curves, recorded = golden_runs.train(name, tmp_path), GOLDEN["runs"][name]
    now, then = golden_runs.here(), GOLDEN["environment"]
    if differs := [key for key in then if then[key] != now.get(key)]:
        print(f"recorded with another {', '.join(differs)}: equal within {ELSEWHERE}")
        for curve, values in recorded.items():
            numbers = [[float.fromhex(text) for text in texts] for texts in (curves[curve], values)]
            assert numbers[0] == pytest.approx(numbers[1], rel=ELSEWHERE), curve
    else:
        assert curves == recorded, "the same machine and versions, so every bit should be the same"


def test_the_reason_of_each_recording_is_kept() -> None:
    assert GOLDEN["reasons"] and all(GOLDEN["reasons"])


def test_C5_each_version_of_the_format_has_a_checkpoint_that_is_still_read() -> None:
    """test_runs_of_earlier_code.py samples them, evaluates them and trains on from them."""
    versions = set()
    for fixture in sorted((ROOT / "tests" / "fixtures").glob("*.tar.xz")):
        with tarfile.open(fixture) as archive:
            for member in archive.getmembers():
                if member.name.endswith(".pt"):
                    file = archive.extractfile(member)
                    assert file is not None
                    versions.add(read_version(file.read()))
    assert versions == set(range(1, checkpoint.VERSION + 1))


def read_version(data: bytes) -> int:
    return torch.load(io.BytesIO(data), weights_only=True)["version"]
