"""microGPT's JSON in and out, and its weights by the names of models.gpt. Pure: text and tensors.

One object: `config` {n_embd, n_head, n_layer, block_size}, `training` {num_steps, final_loss},
`chars` (a list; BOS is not among them and has the id len(chars)) and `state_dict`, {name: rows
[nout][nin]}. Keys beyond these are ignored, except in state_dict.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptexp.errors import CheckpointError, Problem
from gptexp.interchange.defects import SIZES, defects, shown

SHOWN = 20  # problems of one file

MICRO = "use a model of microGPT's shape, as experiment=microgpt trains it"


@dataclass(frozen=True, eq=False)  # tensors have no equality of their own
class MicroGPT:
    """A microGPT as its file holds it."""

    n_embd: int
    n_head: int
    n_layer: int
    block_size: int
    num_steps: int  # updates it was trained for
    final_loss: float | None  # nats per token, or None when the file does not say
    chars: str  # by id; that of BOS is len(chars)
    weights: dict[str, Tensor]  # float64 [nout, nin], under microGPT's names


def filename(m: MicroGPT) -> str:
    """The name of the model's file, such as `model_e16_h4_l1_s1000.json`."""
    return f"model_e{m.n_embd}_h{m.n_head}_l{m.n_layer}_s{m.num_steps}.json"


def render(m: MicroGPT) -> str:
    """The file's text. Each number is written so that it reads back as the same float64.

    Raises CheckpointError for a number that is not finite, which JSON has no word for.
    """
    bad = [name for name, weight in m.weights.items() if not weight.isfinite().all()]
    if m.final_loss is not None and not math.isfinite(m.final_loss):
        bad.append("final_loss")
    if bad:
        fix = "take a checkpoint from before it diverged"
        raise CheckpointError(*(Problem(name, "has NaN or Infinity", fix) for name in bad))
    stored = {
        "config": {key: getattr(m, key) for key in SIZES},
        "training": {"num_steps": m.num_steps, "final_loss": m.final_loss},
        "chars": list(m.chars),
        "state_dict": {name: weight.tolist() for name, weight in m.weights.items()},
    }
    return json.dumps(stored, allow_nan=False)


def parse(text: str, name: str) -> MicroGPT:
    """The model in `text`, the content of the file called `name`.

    Raises CheckpointError with all that is wrong with it, a line for each thing.
    """
    file = name.encode("unicode_escape").decode()  # one line, whatever the name
    stored = _load(text, file)
    faults = list(defects(stored))
    if more := len(faults[SHOWN:]):
        faults[SHOWN:] = [(f"has {more} more problems", "mend those above first")]
    CheckpointError.raise_for(Problem(file, what, fix) for what, fix in faults)
    final_loss = stored["training"].get("final_loss")
    return MicroGPT(
        **{key: stored["config"][key] for key in SIZES},
        num_steps=stored["training"]["num_steps"],
        final_loss=None if final_loss is None else float(final_loss),
        chars="".join(stored["chars"]),
        weights={
            name: torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)
            for name, rows in stored["state_dict"].items()
        },
    )


def to_state(m: MicroGPT) -> dict[str, Tensor]:
    """The state_dict of the GPT with the same weights: float64, q, k and v stacked."""
    w = m.weights
    state = {
        "token_table.weight": w["wte"],
        "position_table.weight": w["wpe"],
        "head.weight": w["lm_head"],
    }
    for i in range(m.n_layer):
        qkv = [w[f"layer{i}.attn_w{name}"] for name in "qkv"]
        state |= {
            f"blocks.{i}.attention.qkv.weight": torch.cat(qkv),  # [3 n_embd, n_embd]
            f"blocks.{i}.attention.proj.weight": w[f"layer{i}.attn_wo"],
            f"blocks.{i}.mlp.up.weight": w[f"layer{i}.mlp_fc1"],
            f"blocks.{i}.mlp.proj.weight": w[f"layer{i}.mlp_fc2"],
        }
    return state


def from_state(state: dict[str, Tensor], n_layer: int) -> dict[str, Tensor]:
    """The inverse of to_state: float64 copies on the CPU, under microGPT's names.

    Raises CheckpointError for parameters that microGPT lacks, such as biases, and for missing ones.
    What leaves no trace in a state, as the activation or the kind of the norms, is not checked.
    """
    names = {"token_table": "wte", "position_table": "wpe", "head": "lm_head"}
    for i in range(n_layer):
        names[f"blocks.{i}.attention.qkv"] = f"layer{i}.attn_wqkv"  # cut in three below
        names[f"blocks.{i}.attention.proj"] = f"layer{i}.attn_wo"
        names[f"blocks.{i}.mlp.up"] = f"layer{i}.mlp_fc1"
        names[f"blocks.{i}.mlp.proj"] = f"layer{i}.mlp_fc2"
    wanted = {f"{name}.weight" for name in names}
    problems = [Problem(n, "is not in the model", MICRO) for n in sorted(wanted - state.keys())]
    problems += [Problem(n, "microGPT does not have it", MICRO) for n in state if n not in wanted]
    CheckpointError.raise_for(problems)
    weights: dict[str, Tensor] = {}
    for name, micro in names.items():
        weight = state[f"{name}.weight"].detach().cpu().double()
        parts = {micro: weight}
        if micro.endswith("qkv"):
            cut = zip("qkv", weight.chunk(3), strict=True)
            parts = {f"{micro.removesuffix('qkv')}{letter}": part for letter, part in cut}
        weights |= {key: part.clone() for key, part in parts.items()}
    return weights


def _load(text: str, file: str) -> dict[str, Any]:
    """The object in `text`; raises CheckpointError for any other text."""
    try:
        stored = json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        what = f"not JSON at {place} ({error.msg})"
    except RecursionError:
        what = "nested too deeply"
    except _DoubledKeyError as error:
        what = f"holds {shown(error.args[0])} twice in one object"
    except ValueError as error:  # an integer of more digits than Python reads
        what = f"holds a number that cannot be read ({str(error).partition(':')[0]})"
    else:
        if isinstance(stored, dict):
            return stored
        what = f"holds {shown(stored)}, not an object"
    raise CheckpointError(Problem(file, what, "give a file that microGPT's export wrote"))


class _DoubledKeyError(Exception):
    """JSON's readers disagree on which of two values counts."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubledKeyError(next(key for key in keys if keys.count(key) > 1))
    return values
