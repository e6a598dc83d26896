"""Weights & Biases: online where there is a key and a server that answers, else offline."""

import contextlib
import io
import logging
import os
import re
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Literal

import numpy as np
import wandb
from PIL import Image

from gptexp.config import LoggerConfig
from gptexp.files import read_regular, write_text
from gptexp.inference.probe import Probe
from gptexp.runs.journal import Sample, curves
from gptexp.runs.secrets import hide_command_line
from gptexp.tracking import pictures
from gptexp.tracking.dashboard import FinalResult, Histograms, RunInfo

log = logging.getLogger(__name__)

PROBE = 4.0  # seconds for the server's first answer

INIT = 8.0  # seconds for W&B to begin a run

FINISH = 8.0  # seconds for its last uploads; what is left can be sent with `wandb sync`

AXES = ("step", "tokens", "epoch", "seconds")  # any of them can be a chart's x axis

NAME_LENGTH = 128  # characters of a run's name

ID = "wandb-id"  # file of a run directory

MOST_ID = 200  # bytes of a file that holds an id

SAMPLE_COLUMNS: list[int | str] = ["step", "prompt", "text", "temperature", "top_k", "seed"]


class WandB:
    """A dashboard in a W&B run, whose id outlives interruptions."""

    def __init__(self, cfg: LoggerConfig, info: RunInfo) -> None:
        settings = wandb.setup(wandb.Settings(silent=True, login_timeout=PROBE)).settings
        self.folder = info.folder
        is_untold = info.resume_step is not None and not (info.folder / ID).exists()
        self.run = begin(cfg, info, settings)
        self.run.define_metric("*", step_metric="step")
        for name in ("val/loss", "val/bpb"):
            self.run.define_metric(name, step_metric="step", summary="min")
        self.samples = wandb.Table(columns=SAMPLE_COLUMNS, log_mode="INCREMENTAL")
        self.sampled = {sample.step for sample in info.samples}
        if is_untold:  # as one that goes on from another run
            for line in info.lines:
                self.scalars({**line, **curves(line)})
            for sample in info.samples:
                self.sample(sample)

    def scalars(self, line: dict[str, Any]) -> None:
        self.run.log({key: line[key] for key in line if key in AXES or "/" in key})

    def sample(self, sample: Sample) -> None:
        self.sampled.add(sample.step)
        self.samples.add_data(*(getattr(sample, str(column)) for column in SAMPLE_COLUMNS))
        self.run.log({"samples": self.samples, "step": sample.step})

    def probe(self, probe: Probe, prefix: str = "") -> None:
        drawn = pictures.draw(probe)
        images = {name: Image.open(io.BytesIO(data)) for name, data in drawn.items()}
        logged = {prefix + name: wandb.Image(image) for name, image in images.items()}
        self.run.log({**logged, "step": probe.step})

    def histograms(self, histograms: Histograms) -> None:
        logged = {
            name: wandb.Histogram(np_histogram=(np.array(drawn.counts), np.array(drawn.edges())))
            for name, drawn in histograms.by_name.items()
        }
        self.run.log({**logged, "step": histograms.step})

    def final(self, final: FinalResult) -> None:
        self.run.summary.update(final.values)
        if final.sample.step not in self.sampled:
            self.sample(final.sample)
        if final.probe is not None:
            self.probe(final.probe, "final/")
        if final.checkpoint is not None:
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{self.folder.name}-best")
            artifact = wandb.Artifact(name, type="model", metadata=dict(final.values))
            # The best checkpoint stays where it is for good, so it need not be copied first.
            artifact.add_file(str(final.checkpoint), policy="immutable")
            self.run.log_artifact(artifact)

    def flush(self) -> None:
        """Nothing to do: a process of W&B's own writes as it is told."""

    def close(self, exit_code: int) -> None:
        self.run.finish(exit_code=exit_code)


def begin(cfg: LoggerConfig, info: RunInfo, settings: wandb.Settings) -> wandb.Run:
    """Begin a run, online if that can be, else offline; never with a prompt or a long wait."""
    if settings.mode == "disabled":
        return init(cfg, info, "disabled")
    why = reason_for_offline(settings)
    if why is None:
        try:
            run = init(cfg, info, "online")
        except Exception as error:
            why = str(error).partition("\n")[0]
            wandb.teardown(1)  # else the id counts as in use
        else:
            log.info("W&B     %s", run.url)
            return run
    run = init(cfg, info, "offline")
    folders = info.folder / "wandb" / f"offline-run-*-{run.id}"  # one for each time it is resumed
    log.info("W&B     offline: %s; later: wandb sync %s", why, folders)
    return run


def reason_for_offline(settings: wandb.Settings) -> str | None:
    """Why this run cannot be online, or None once W&B's server has taken the key."""
    if settings.mode == "offline":
        return "WANDB_MODE says so"
    try:
        probe(settings.base_url)
        return None if wandb.login(prompt=False) else "no API key (`wandb login` stores one)"
    except Exception as error:
        return str(error).partition("\n")[0]


def probe(url: str) -> None:
    """Raise OSError where no W&B server answers soon; W&B itself would ask for half a minute."""
    question = urllib.request.Request(
        f"{url}/graphql", b'{"query": "{viewer {id}}"}', {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(question, timeout=PROBE).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:  # a proxy whose server is away; below, W&B knows what it means
            raise OSError(f"{url} answers {error.code}") from error
    except OSError as error:
        raise OSError(f"{url} does not answer") from error


def init(
    cfg: LoggerConfig, info: RunInfo, mode: Literal["online", "offline", "disabled"]
) -> wandb.Run:
    hide_command_line()  # W&B stores it
    return wandb.init(
        entity=cfg.entity,
        project=cfg.project,
        group=cfg.group or info.group,
        job_type=cfg.job_type,
        tags=cfg.tags,
        name=title(info),
        id=run_id(info),
        resume="allow" if mode == "online" else None,
        config=info.config,
        dir=info.folder,
        mode=mode,
        reinit="create_new",  # runs of one multirun have nothing to do with each other
        settings=wandb.Settings(
            silent=True, console="off", init_timeout=INIT, finish_timeout=FINISH
        ),
    )


def title(info: RunInfo) -> str:
    """The run's label, cut where it is long, and the name of its directory."""
    label = info.label[: NAME_LENGTH - 1 - len(info.folder.name)]
    return f"{label} {info.folder.name}".lstrip()


def run_id(info: RunInfo) -> str:
    """The id: one over all resumes of a run, another when it is trained anew.

    Under an agent the first run of its job has the id that the agent gave.
    """
    path = info.folder / ID
    agents_id = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
    if agents_id and not _is_taken(agents_id, info.folder):
        write_text(path, agents_id)
        return agents_id
    if info.resume_step is not None and path.exists():
        return path.read_text().strip()
    write_text(path, f"{info.folder.name.rpartition('-')[2]}-{uuid.uuid4().hex[:8]}")
    return path.read_text()


def _is_taken(agents_id: str, folder: Path) -> bool:
    """Whether another run of outputs/ has the id, as the first one of several seeds in a job."""
    for path in folder.parents[1].glob(f"*/*/{ID}"):
        with contextlib.suppress(OSError):
            if path.parent != folder and read_regular(path, MOST_ID).strip() == agents_id.encode():
                return True
    return False
