"""microGPT's JSON in and out, and its weights by the names of models.gpt. Pure: text and tensors.

One object: `config` {n_embd, n_head, n_layer, block_size}, `training` {num_steps, final_loss},
`chars` (a list; BOS is not among them and has the id len(chars)) and `state_dict`, {name: rows
[nout][nin]}. Keys beyond these are ignored, except in state_dict.
"""

import json
import math
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptexp.errors import CheckpointError, Problem

SIZES = ("n_embd", "n_head", "n_layer", "block_size")

LARGEST = 2**53  # of an integer: beyond it JSON's readers disagree

FLOAT32_MAX = (2 - 2**-23) * 2.0**127

SHOWN = 20  # problems of one file

LAYER = re.compile(r"layer(0|[1-9]\d{0,8})\.(?:attn_w[qkvo]|mlp_fc[12])")

Defect = tuple[str, str]  # what is wrong in a file, and the fix

EXPORT = "write the file again from the model"  # what helps where the numbers are damaged

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


def shapes(n_embd: int, n_layer: int, block_size: int, n_char: int) -> dict[str, tuple[int, int]]:
    """Every matrix of a microGPT with its [nout, nin], in the order of the file."""
    square, table = (n_embd, n_embd), (n_char + 1, n_embd)
    matrices = {"wte": table, "wpe": (block_size, n_embd), "lm_head": table}
    for i in range(n_layer):
        matrices |= {f"layer{i}.attn_{name}": square for name in ("wq", "wk", "wv", "wo")}
        matrices[f"layer{i}.mlp_fc1"] = (4 * n_embd, n_embd)
        matrices[f"layer{i}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return matrices


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
    defects = list(_defects(stored))
    if more := len(defects[SHOWN:]):
        defects[SHOWN:] = [(f"has {more} more problems", "mend those above first")]
    CheckpointError.raise_for(Problem(file, what, fix) for what, fix in defects)
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
        what = f"holds {_shown(error.args[0])} twice in one object"
    except ValueError as error:  # an integer of more digits than Python reads
        what = f"holds a number that cannot be read ({str(error).partition(':')[0]})"
    else:
        if isinstance(stored, dict):
            return stored
        what = f"holds {_shown(stored)}, not an object"
    raise CheckpointError(Problem(file, what, "give a file that microGPT's export wrote"))


class _DoubledKeyError(Exception):
    """JSON's readers disagree on which of two values counts."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubledKeyError(next(key for key in keys if keys.count(key) > 1))
    return found


def _defects(stored: dict[str, Any]) -> Iterator[Defect]:
    """Yield what is wrong with the file; shapes are judged only where the sizes are right."""
    kinds: dict[str, type] = {"config": dict, "training": dict, "chars": list, "state_dict": dict}
    for key, kind in kinds.items():
        word = "an object" if kind is dict else "a list"
        if key not in stored:
            yield f"{key} is missing", f"add it, {word}"
        elif not isinstance(stored[key], kind):
            yield f"{key} is {_shown(stored[key])}, not {word}", "make it one"
    config, training, chars, matrices = (
        stored[key] if isinstance(stored.get(key), kind) else None for key, kind in kinds.items()
    )
    of_config = [] if config is None else list(_config_defects(config))
    yield from of_config
    if training is not None:
        yield from _training_defects(training)
    if chars is not None:
        yield from _char_defects(chars)
    if matrices is not None:
        has_sizes = config is not None and chars is not None and not of_config
        yield from _matrix_defects(matrices, config if has_sizes else None, len(chars or ()))


def _integer_defects(section: dict[str, Any], name: str, lowest: int) -> Iterator[Defect]:
    key = name.partition(".")[2]
    value = section.get(key)
    if key not in section:
        yield f"{name} is missing", f"add it, an integer from {lowest}"
    elif type(value) is not int or not lowest <= value <= LARGEST:  # True is an int, too
        yield f"{name} is {_shown(value)}, not an integer from {lowest} to 2**53", "give one"


def _config_defects(config: dict[str, Any]) -> Iterator[Defect]:
    defects = [defect for key in SIZES for defect in _integer_defects(config, f"config.{key}", 1)]
    yield from defects
    if not defects and config["n_embd"] % config["n_head"]:
        what = f"config.n_head is {config['n_head']}, which does not divide {config['n_embd']}"
        yield f"{what}, config.n_embd", "give the number of heads it was trained with"


def _training_defects(training: dict[str, Any]) -> Iterator[Defect]:
    yield from _integer_defects(training, "training.num_steps", 0)
    final_loss = training.get("final_loss")
    if final_loss is not None and (what := _not_finite(final_loss)):
        yield f"training.final_loss is {_shown(final_loss)}, {what}", "null, if it is not known"


def _char_defects(chars: list[Any]) -> Iterator[Defect]:
    if not chars:
        yield "chars is empty", EXPORT
    first: dict[str, int] = {}
    for i, char in enumerate(chars):
        what = ""
        if not isinstance(char, str) or len(char) != 1:
            what = "not a single character"
        elif char in "\n\r":
            what = "a line break, which ends a document and is in none"
        elif "\ud800" <= char <= "\udfff":
            what = "half of a surrogate pair"
        elif first.setdefault(char, i) != i:
            what = f"the same as chars[{first[char]}]"
        if what:
            yield f"chars[{i}] is {_shown(char)}, {what}", EXPORT


def _matrix_defects(
    matrices: dict[str, Any], config: dict[str, Any] | None, n_char: int
) -> Iterator[Defect]:
    """Yield the first defect of each matrix; without a config, those that need no shape."""
    # The layers of the file, not n_layer, which may be any number, say how many names there are.
    depth = len({match[1] for name in matrices if (match := LAYER.fullmatch(name))})
    wanted = {}
    if config is not None:
        if config["n_layer"] != depth:
            what = f"config.n_layer is {config['n_layer']}, but state_dict has {depth}"
            yield f"{what} layers", "give the number of layers it was trained with"
        wanted = shapes(config["n_embd"], depth, config["block_size"], n_char)
    for name in [name for name in wanted if name not in matrices]:
        yield f"state_dict['{name}'] is missing", f"add it, {wanted[name][0]}x{wanted[name][1]}"
    for name, rows in matrices.items():
        if wanted and name not in wanted:
            yield f"state_dict has {_shown(name)}, which microGPT does not", "leave it out"
        elif what := _misshapen(rows, wanted.get(name)) or _bad_number(rows):
            yield f"state_dict[{_shown(name)}]{what}", EXPORT


def _misshapen(rows: Any, wanted: tuple[int, int] | None) -> str:
    """The defect of a shape, to follow the matrix's name: ` is 3x4, not 4x4`; empty for none."""
    if not isinstance(rows, list) or not rows:
        return f" is {_shown(rows)}, not a list of rows"
    for i, row in enumerate(rows):
        if not isinstance(row, list) or not row:
            return f"[{i}] is {_shown(row)}, not a row of numbers"
        if len(row) != len(rows[0]):
            return f"[{i}] has length {len(row)}, but [0] has length {len(rows[0])}"
    shape = (len(rows), len(rows[0]))
    if wanted is None or shape == wanted:
        return ""
    return f" is {shape[0]}x{shape[1]}, not {wanted[0]}x{wanted[1]}"


def _bad_number(rows: list[list[Any]]) -> str:
    """The defect of the first number that is not finite, to follow the matrix's name; or empty."""
    for i, row in enumerate(rows):
        for j, number in enumerate(row):
            if what := _not_finite(number):
                return f"[{i}][{j}] is {_shown(number)}, {what}"
    return ""


def _not_finite(number: Any) -> str:
    """Why this is not a finite float64, such as `not a number`; empty when it is one."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return "not a number"
    if number != number or number in (math.inf, -math.inf):  # isnan() takes no huge integer
        return "not a finite number"
    # A model computes in float32, where a larger one is infinite.
    return "" if abs(number) <= FLOAT32_MAX else "too large for a float32"


def _shown(value: Any) -> str:
    """A short form of any value of JSON, in one line."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict = 2, 3, 3
    return short.repr(value)
