"""A finished run typed again is answered from its directory, without torch and numpy."""

import subprocess
import sys
from pathlib import Path

from interruptions import Small
from small_runs import ROOT, SMALL, put
from small_stores import contents

from gptexp.experiment.run import run_experiment

# Each line of standard input is a command; a last line of each says what was needed.
AGAIN = """
import runpy, sys
def needed():
    return sorted({"torch", "numpy"} & {*sys.modules})
for line in sys.stdin:
    words = line.split()
    sys.argv = ["run.py", *words]
    try:
        runpy.run_path(ROOT, run_name="__main__")
    except SystemExit as ended:
        print("run.py", ended.code, needed())
    if "-m" not in words:
        from gptexp.config import from_overrides
        from gptexp.experiment.run import run_experiment
        outcome = run_experiment(from_overrides(words))
        print("run_experiment", outcome.state, needed())
"""


def test_a_finished_run_again_imports_no_torch(
    finished: Path, small: Small, tmp_path: Path, text_file: Path
) -> None:
    config = put(small(), "init_from", str(finished))
    from_it = run_experiment(config, tmp_path / "outputs").path
    before = contents(tmp_path / "outputs")
    words = " ".join([*SMALL, f"data.path={text_file}"])
    commands = [words, f"-m {words} seed=0", f"{words} init_from={finished}"]
    done = subprocess.run(
        [sys.executable, "-c", AGAIN.replace("ROOT", repr(str(ROOT / "run.py")))],
        cwd=tmp_path,
        input="\n".join(commands),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    answers = [line for line in done.stdout.splitlines() if line.endswith("]")]
    assert answers == [
        "run.py 0 []",
        "run_experiment already done []",
        "run.py 0 []",
        "run.py 0 ['numpy']",  # the vocabulary of the other run is compared with that of the text
        "run_experiment already done ['numpy']",
    ]
    for run in (finished, from_it):
        assert f"run     {run.relative_to(tmp_path)}" in done.stdout.splitlines()
    assert contents(tmp_path / "outputs") == before
