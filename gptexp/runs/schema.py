"""What the files of a run directory hold, and the one door through which they are read.

People share run directories. So a file is read only if it is a regular one of sane size, and its
JSON is checked once, against the types below; whatever else it holds is damage, in one line. Keys
that an earlier gptexp did not write are not required, and those that are not known are left out.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from gptexp.errors import DamagedError, Problem
from gptexp.files import read_json

Count = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]  # -1 is the step of what there is not
Number = Annotated[float, msgspec.Meta(ge=-1e39, le=1e39)]  # all that float32 holds


class Capped(TypedDict):
    """What the evaluation in training came to, of a run with trainer.eval_tokens."""

    targets: Count  # of validation, that it judged
    val_loss: Number | None
    val_bpb: Number | None
    train_loss: Number | None
    val_accuracy: NotRequired[Number]  # see _Measured


class Part(TypedDict):
    """One part of a mix at an evaluation."""

    loss: Number | None  # of its own validation split
    epochs: Number  # of its own training split


class _Measured(TypedDict):
    """One evaluation, in part; losses in nats per token, over all targets."""

    step: Count
    tokens: Number
    epochs: Number
    train_loss: Number | None
    weights_sha256: NotRequired[str]
    capped: NotRequired[Capped]
    own: NotRequired[dict[str, float | None]]  # values of own metrics
    parts: NotRequired[dict[str, Part]]  # of a mix
    val_accuracy: NotRequired[Number]  # of conversations: share of the answers that are right


class Best(_Measured):
    """The evaluation of the lowest validation loss."""

    val_loss: Number
    val_bpb: Number | None  # None of bare ids


class Final(_Measured):
    """The last evaluation; None for a loss that was not finite."""

    val_loss: Number | None
    val_bpb: Number | None


class Onset(TypedDict):
    """The evaluation where a cliff begins; see analysis.cliff.CurvePoint."""

    step: Count
    epochs: Number
    tokens: NotRequired[Number]
    val_loss: NotRequired[Number]
    train_loss: NotRequired[Number]
    stderr: NotRequired[Number]


class Fall(TypedDict):
    """See analysis.cliff.Cliff."""

    verdict: Literal["cliff", "none", "too early"]
    onset: Onset | None
    height: Number
    slope: Number | None
    gap: Number


class Parameters(TypedDict):
    """How many parameters the model has."""

    total: Count
    non_embedding: Count


class Judged(TypedDict):
    """The best weights on the test split."""

    loss: Number | None
    bpb: Number | None
    accuracy: NotRequired[Number]  # see _Measured


class Averaged(TypedDict):
    """The lowest validation loss of an average of the weights, of the evaluations in training."""

    step: Count
    val_loss: Number


class Averages(TypedDict):
    """The averages of the weights that a run kept, and which weights had the lowest loss."""

    better: Literal["raw", "ema", "mean"]
    ema: NotRequired[Averaged]  # exponential, of optim.ema
    mean: NotRequired[Averaged]  # even, of optim.average_last


class Summary(TypedDict):
    """summary.json; see experiment.finish.build_summary."""

    run: NotRequired[str]
    config: NotRequired[dict[str, Any]]
    config_hash: NotRequired[str | None]
    data_sha256: NotRequired[str | None]
    code: NotRequired[str | None]
    params: Parameters
    steps: Count
    tokens: Number
    epochs: Number
    flops: Number
    seconds: Number
    stop_reason: str
    best: Best | None
    final: Final
    averages: NotRequired[Averages]
    cliff: Fall | None
    test: Judged | None
    ngrams: NotRequired[list[Number] | None]
    ngrams_of: NotRequired[Count]  # of so many tokens of a split, the first of it
    sample: str
    branched: NotRequired["Branch"]
    files: NotRequired[dict[str, str]]  # digests of the journals
    seal: NotRequired[str]  # see runs.seal


class Status(TypedDict):
    """status.json; see RunDirectory.set_status."""

    state: str
    reason: NotRequired[str]
    what: NotRequired[str]
    pid: NotRequired[int]
    host: NotRequired[str]
    files: NotRequired[dict[str, str]]  # digests of the journals
    seal: NotRequired[str]


class Share(TypedDict):
    """One part of a mix: the digest of its text, and its share of training."""

    sha256: str
    share: Number


class Text(TypedDict, total=False):
    """The corpus of a run."""

    name: str
    path: str | None
    sha256: str
    bounds: dict[str, list[Count]]  # [begin, end) by split, in tokens or documents
    parts: dict[str, Share]  # of a mix, whose bounds are those of PART/SPLIT
    tokens: dict[str, Number]  # in an epoch, by split
    judged: dict[str, Count]  # targets of an evaluation in training, where it is capped


class Fingerprint(TypedDict, total=False):
    """See provenance.fingerprint."""

    name: str
    sha256: str


class Checkout(TypedDict, total=False):
    """See provenance.git."""

    commit: str
    changed: list[str]
    patch: str | None


class Environment(TypedDict, total=False):
    """See provenance.environment."""

    device: str
    dtype: str
    python: str
    packages: dict[str, str]
    platform: str
    threads: Count
    cpu: str
    cpu_capability: str
    torch_build: str
    cuda: str | None
    gpu: str | None
    compiled: bool  # what trainer.compile=auto came to
    ranks: Count  # processes that trained it together; one, if not there
    parallel: str  # how they shared it: ddp or fsdp
    tf32: bool | None  # whether products of float32 may be taken in it


class Process(TypedDict, total=False):
    """What another process of the same run had."""

    command: list[str] | None
    git: Checkout | None
    environment: Environment | None
    sources: dict[str, str] | None


class Resume(TypedDict):
    """One time that a run was taken up."""

    step: Count
    differs: NotRequired[list[str]]
    before: NotRequired[Process]


class Plugin(TypedDict):
    """A module of own code; see plugins.sources."""

    module: str
    sha256: str | None
    files: NotRequired[dict[str, str]]  # of a variant's code, which is hashed


class Origin(TypedDict):
    """The run whose files a run was made of; see experiment.reuse."""

    run: str  # its directory, as it was then
    command: list[str]


class Extension(TypedDict):
    """The shorter run from whose checkpoint a run went on; see experiment.extend."""

    run: str  # its directory, as it was then
    step: Count


class Branch(TypedDict):
    """The run from whose checkpoint a run goes on in another way; see experiment.branch."""

    run: str  # its directory, as it was then
    step: Count
    differs: str  # what is other from there, in a line


class Manifest(TypedDict, total=False):
    """manifest.json; see experiment.manifest.write_manifest."""

    run: str
    config_hash: str
    beginning_hash: str  # see identity.beginning_hash
    command: list[str]
    overrides: list[str]
    seed: Count
    data: Text
    tokenizer: Fingerprint
    git: Checkout
    environment: Environment
    sources: dict[str, str]
    plugins: list[Plugin]
    resumes: list[Resume]
    max_steps: Count  # updates that the budget comes to
    trunk_steps: Count  # of these, the ones of which beginning_hash tells; all, if not there
    reused: Origin
    extended: Extension
    branched: Branch
    seal: str


def read_summary(folder: Path) -> Summary | None:
    """summary.json of a run directory; None when there is none; raises DamagedError."""
    path, fix = folder / "summary.json", "delete it and run its command again"
    summary = read_json(path, Summary, fix)
    fall = None if summary is None else summary["cliff"]
    if fall is not None and fall["verdict"] == "cliff" and None in (fall["onset"], fall["slope"]):
        raise DamagedError(Problem(path, "damaged: a cliff without onset or slope", fix))
    return summary


def read_manifest(folder: Path) -> Manifest:
    """manifest.json of a run directory; empty when there is none; raises DamagedError."""
    fix = "restore it, or rerun=true to train anew"
    return read_json(folder / "manifest.json", Manifest, fix) or {}


def read_status(folder: Path) -> Status | None:
    """status.json of a run directory; None when there is none; raises DamagedError."""
    return read_json(folder / "status.json", Status, "delete it and run its command again")
