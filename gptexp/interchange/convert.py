"""Runs to and from microGPT's JSON."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from gptexp.config import Config, GPTConfig, flat, from_overrides, to_dict
from gptexp.data.read import BOUNDARY
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.files import read_regular, storage_errors, write_text
from gptexp.inference.load import load_run
from gptexp.inference.weights import read_checkpoint
from gptexp.interchange import microgpt
from gptexp.interchange.adopt import Foreign, adopt, checked_settings
from gptexp.interchange.defects import SIZES, Defect
from gptexp.interchange.microgpt import MicroGPT
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.lines import Lines
from gptexp.tokenizers.char import CharTokenizer

MOST_BYTES = 2**30  # of an imported file: some forty million weights

ROWS = 1  # documents that microGPT trains on in a step

PRESET = "experiment=microgpt"  # whose switches microGPT's architecture is


def export_run(run: Path, to: Path | None = None) -> Path:
    """Write the best weights of a run, or a checkpoint, as microGPT's JSON; returns the file.

    Its `final_loss` is the last training loss logged up to that step. Raises CheckpointError for a
    model that microGPT does not know, ConfigError for a file that is there already, StorageError.
    """
    config = load_run(run).config  # whose parts fit together
    state = read_checkpoint(run)
    defects = not_micro(config, state["tokenizer"])
    CheckpointError.raise_for(Problem(run, what, fix) for what, fix in defects)
    model = config.model
    assert isinstance(model, GPTConfig)
    loss = None
    for line in Lines(run / "metrics.jsonl", having=b'"train/loss"') if run.is_dir() else []:
        is_before = line["step"] <= state["step"] and line.get("train/loss") is not None
        loss = line["train/loss"] if is_before else loss
    stored = MicroGPT(
        n_embd=model.n_embd,
        n_head=model.n_head,
        n_layer=model.n_layer,
        block_size=model.block_size,
        num_steps=state["step"],
        final_loss=loss,
        chars=state["tokenizer"]["characters"].removesuffix(BOUNDARY),
        weights=microgpt.from_state(state["model"], model.n_layer),
    )
    path, text = to or Path(microgpt.filename(stored)), microgpt.render(stored)
    with storage_errors(path):
        if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
            raise ConfigError(Problem(path, "is there already, and differs", "--file OTHER.json"))
    write_text(path, text)
    return path


def import_file(path: Path, overrides: list[str], outputs: Path = OUTPUTS) -> Path:
    """Make a run directory of microGPT's JSON, judged on the config's documents; returns it.

    `overrides` are those of run.py, such as data=documents data.path=FILE; without them, the names.
    The weights stay the float64 of the file, so that an export gives the same numbers; a model
    computes in float32. Raises CheckpointError, ConfigError, DataError, InUseError, StorageError.
    """
    stored = microgpt.parse(_read(path), str(path))
    config = checked_settings(path, overrides, [PRESET])
    if not config.data.documents or config.tokenizer.name != "char":
        fix = "data=names, or data=documents data.path=FILE, and tokenizer=char"
        raise ConfigError(Problem("data", "microGPT reads documents, character by character", fix))
    assert isinstance(config.model, GPTConfig)
    sizes = {key: getattr(stored, key) for key in SIZES}
    config.trainer = replace(config.trainer, max_steps=max(stored.num_steps, 1))
    foreign = Foreign(
        source=path,
        model=replace(config.model, **sizes),
        tokenizer=CharTokenizer(stored.chars + BOUNDARY),
        weights=microgpt.to_state(stored),
        content=f"imported from microGPT\n{microgpt.render(stored)}",
        step=stored.num_steps,
        rows=ROWS,
        loss=stored.final_loss,
    )
    return adopt(foreign, config, overrides, outputs)


def not_micro(config: Config, tokenizer: dict[str, Any]) -> list[Defect]:
    """The defects of a config for which microGPT's file has no place; none of microGPT's kind."""
    wanted = _preset()
    values = flat(to_dict(config))
    free = {"name", "dropout", "init_std", "scale_residuals", "zero_init", *SIZES}
    keys = [
        key for key in wanted if key.startswith("model.") and key.removeprefix("model.") not in free
    ]
    keys += ["tokenizer.name", "data.documents"]
    fix = f"train one by {PRESET}"
    defects = [
        (f"{key} is {values.get(key)}, not {wanted[key]}", fix)
        for key in keys
        if values.get(key) != wanted[key]
    ]
    if not defects and not tokenizer["characters"].endswith(BOUNDARY):
        defects.append(("its boundary is not the last token", fix))
    return defects


@cache
def _preset() -> dict[str, Any]:
    """The values of PRESET's config by dotted keys."""
    return flat(to_dict(from_overrides([PRESET])))


def _read(path: Path) -> str:
    """The text of a file; raises CheckpointError."""
    try:
        return read_regular(path, MOST_BYTES).decode()
    except OSError as error:
        reason = str(error.strerror)
    except ValueError:  # not UTF-8, or a NUL in the name
        reason = "not UTF-8 text"
    shown = str(path).encode("unicode_escape").decode()
    raise CheckpointError(Problem(shown, reason, "name a file such as model_e16_h4_l1_s1000.json"))
