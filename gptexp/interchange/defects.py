"""What is wrong with the content of a microGPT file: each defect with its fix."""

import math
import re
import reprlib
from collections.abc import Iterator
from typing import Any

SIZES = ("n_embd", "n_head", "n_layer", "block_size")

LARGEST = 2**53  # of an integer: beyond it JSON's readers disagree

FLOAT32_MAX = (2 - 2**-23) * 2.0**127

LAYER = re.compile(r"layer(0|[1-9]\d{0,8})\.(?:attn_w[qkvo]|mlp_fc[12])")

EXPORT = "write the file again from the model"  # what helps where the numbers are damaged

Defect = tuple[str, str]  # what is wrong in a file, and the fix


def shapes(n_embd: int, n_layer: int, block_size: int, n_char: int) -> dict[str, tuple[int, int]]:
    """Every matrix of a microGPT with its [nout, nin], in the order of the file."""
    square, table = (n_embd, n_embd), (n_char + 1, n_embd)
    matrices = {"wte": table, "wpe": (block_size, n_embd), "lm_head": table}
    for i in range(n_layer):
        matrices |= {f"layer{i}.attn_{name}": square for name in ("wq", "wk", "wv", "wo")}
        matrices[f"layer{i}.mlp_fc1"] = (4 * n_embd, n_embd)
        matrices[f"layer{i}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return matrices


def defects(stored: dict[str, Any]) -> Iterator[Defect]:
    """Yield what is wrong with the file; shapes are judged only where the sizes are right."""
    kinds: dict[str, type] = {"config": dict, "training": dict, "chars": list, "state_dict": dict}
    for key, kind in kinds.items():
        word = "an object" if kind is dict else "a list"
        if key not in stored:
            yield f"{key} is missing", f"add it, {word}"
        elif not isinstance(stored[key], kind):
            yield f"{key} is {shown(stored[key])}, not {word}", "make it one"
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
        yield f"{name} is {shown(value)}, not an integer from {lowest} to 2**53", "give one"


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
        yield f"training.final_loss is {shown(final_loss)}, {what}", "null, if it is not known"


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
            yield f"chars[{i}] is {shown(char)}, {what}", EXPORT


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
            yield f"state_dict has {shown(name)}, which microGPT does not", "leave it out"
        elif what := _misshapen(rows, wanted.get(name)) or _bad_number(rows):
            yield f"state_dict[{shown(name)}]{what}", EXPORT


def _misshapen(rows: Any, wanted: tuple[int, int] | None) -> str:
    """The defect of a shape, to follow the matrix's name: ` is 3x4, not 4x4`; empty for none."""
    if not isinstance(rows, list) or not rows:
        return f" is {shown(rows)}, not a list of rows"
    for i, row in enumerate(rows):
        if not isinstance(row, list) or not row:
            return f"[{i}] is {shown(row)}, not a row of numbers"
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
                return f"[{i}][{j}] is {shown(number)}, {what}"
    return ""


def _not_finite(number: Any) -> str:
    """Why this is not a finite float64, such as `not a number`; empty when it is one."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return "not a number"
    if number != number or number in (math.inf, -math.inf):  # isnan() takes no huge integer
        return "not a finite number"
    # A model computes in float32, where a larger one is infinite.
    return "" if abs(number) <= FLOAT32_MAX else "too large for a float32"


def shown(value: Any) -> str:
    """A short form of any value of JSON, in one line."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict = 2, 3, 3
    return short.repr(value)
