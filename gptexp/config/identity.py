"""What makes two configs the same run: a hash over all that can change a weight or a metric."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from gptexp import plugins
from gptexp.config import retired
from gptexp.config.data import part_label
from gptexp.config.own import own_code
from gptexp.config.schema import SECTIONS, SINGLE, VARIANTS, Config, variant
from gptexp.config.stored import to_dict
from gptexp.config.trainer import BUDGETS

HASHED = tuple(section for section in SECTIONS if section != "logger")

# How often to look, what to keep and how to show it leave weights and metrics as they are, and so
# does what is computed once more.
UNHASHED = frozenset(
    {
        "log_interval",
        "sample_interval",
        "sample_tokens",
        "sample_documents",
        "sample_temperature",
        "sample_top_k",
        "checkpoint_interval",
        "keep",
        "retry_failed",
        "profile",
        "diagnostics_interval",
        "activation_checkpointing",
        "parallel",
        "rank_timeout",
    }
)


JUDGES = (  # they bound what is judged, or say what of it is to be predicted
    *("data.documents", "data.chat", "data.val_fraction", "data.val_tokens", "data.shuffle"),
)

PARTS = "data.parts."


def hashed_part(config: Config, data_sha256: str, start_sha256: str | None) -> dict[str, Any]:
    """The part of the config that is the run's identity.

    Files count by content: `data.path` is replaced by the file's SHA-256 (of a mix over all its
    files, which are called by their labels), `init_from` by the digest
    of its weights, joined by that of their vocabulary where the text does not tell it (see
    experiment/identity.py), and `branch_from` by that of what it goes on from. A device counts
    without its index. A key at its dataclass default is left out, so that adding such a key later
    changes no hash. `trainer.max_steps` is left out where a budget in other units replaces it, and
    `optim.weight_decay` where a time scale does: both then follow from the rest.
    """
    values = to_dict(config)
    part: dict[str, Any] = {"seed": config.seed}
    for section in HASHED:
        node = getattr(config, section)
        defaults = _defaults(node)
        if plugins.own(node) is None:  # else an enum at its default was hashed from the beginning
            defaults = _values(defaults)
        part[section] = {
            key: value
            for key, value in values[section].items()
            if key not in defaults or value != defaults[key]
        }
    if part["optim"].get("decay_timescale") is not None:
        part["optim"].pop("weight_decay", None)  # an own one may be at its default
    part["data"]["path"] = data_sha256
    if parts := config.data.parts:
        part["data"]["parts"] = {part_label(key): share for key, share in parts.items()}
    part["trainer"] = {k: v for k, v in part["trainer"].items() if k not in UNHASHED}
    if config.trainer.budgets:
        del part["trainer"]["max_steps"]
    part["trainer"]["device"] = config.trainer.device.partition(":")[0]
    if start_sha256 is not None:
        part["init_from" if config.branch_from is None else "branch_from"] = start_sha256
    return part


def config_hash(
    config: Config,
    data_sha256: str,
    start_sha256: str | None = None,
    code: dict[str, dict[str, str]] | None = None,
) -> str:
    """SHA-256 of the identity, in hexadecimal.

    The sources behind own variants are a part of it: as they are here, unless `code` is given.
    """
    part = hashed_part(config, data_sha256, start_sha256)
    if code := own_code(config) if code is None else code:
        part["code"] = code
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def beginning_hash(config: Config, data_sha256: str, start_sha256: str | None = None) -> str:
    """The hash of what `Config.trunk_steps` rest on: equal for runs that begin alike.

    That is the config but for how long the run is, and for what only its end is about.
    """
    lengths: dict[str, Any] = {"max_steps": 1, **dict.fromkeys(BUDGETS)}
    return config_hash(without_end(config, **lengths), data_sha256, start_sha256)


def without_end(config: Config, **trainer: Any) -> Config:
    """The config with its schedule's trunk for ever and no average of its end; `trainer` is set."""
    return dataclasses.replace(
        config,
        schedule=config.schedule.trunk(),
        optim=dataclasses.replace(config.optim, average_last=None),
        trainer=dataclasses.replace(config.trainer, **trainer),
    )


class Difference(NamedTuple):
    """A key, and its values in two configs as one would type them."""

    key: str
    stored: str
    given: str


def differences(stored: Config, given: Config) -> list[Difference]:
    """The hashed keys in which two configs differ.

    What the files behind data.path, init_from and branch_from hold is not known here, only whether
    both configs name one.
    """
    parts, values = [], []
    for config in (stored, given):
        starts = (config.init_from, config.branch_from) != (None, None)
        parts.append(flat(hashed_part(config, "", "" if starts else None)))
        values.append(flat(to_dict(config)))
    keys = [key for key in {**parts[0], **parts[1]} if parts[0].get(key) != parts[1].get(key)]
    return [Difference(key, *(_typed(value, key) for value in values)) for key in keys]


def run_name(config: Config, hash_hex: str) -> str:
    """Directory name of the run: readable fields, then eight digits of the hash."""
    fraction = f"{config.data.fraction:g}"
    return f"{config.model.name}-{config.data.name}-f{fraction}-s{config.seed}-{hash_hex[:8]}"


def is_hashed(key: str) -> bool:
    """Whether a key such as optim.lr is in the hash, by its value or by what its file holds."""
    section, dot, field = key.partition(".")
    if not dot:
        return key in ("seed", "init_from", "branch_from")
    return section in HASHED and not (section == "trainer" and field in UNHASHED)


def judged_by(values: Mapping[str, Any]) -> dict[str, Any]:
    """What decides, of a flat config, over which tokens of a text a loss is a mean, and how.

    Losses on one text compare where all of it is equal. Of a mix that is the shares, each of their
    sum.
    """
    judges = {key: values.get(key) or None for key in JUDGES}
    parts = {k: v for k, v in values.items() if k.startswith(PARTS) and isinstance(v, float)}
    total = sum(parts.values()) or 1
    shares = sorted((key, round(share / total, 9)) for key, share in parts.items())
    return {**judges, "data.parts": shares}


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """The values of to_dict under dotted keys, as optim.lr; lists as typed, so all can be hashed.

    A key that an old run lacks takes its dataclass default, as in its hash, and stands behind the
    others of its section, so that what was chosen for one (optim.name) comes first. One that was
    taken out since is left out where it is off.
    """
    flattened: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            section = _filled(name, variant(name, {"name": None, **value}), value)
            flattened |= {f"{name}.{key}": _plain(item) for key, item in _items(section)}
        else:
            flattened[name] = value
    modules = values.get("plugins", [])  # as words, as a stored study has them
    words = " ".join(map(str, modules)) if isinstance(modules, list) else modules
    return {**flattened, "plugins": words, "branch_from": values.get("branch_from")}


def refilled(flattened: dict[str, Any]) -> dict[str, Any]:
    """What `flat` gave before some keys were there, with their defaults."""
    values: dict[str, Any] = {}
    for name, value in flattened.items():
        section, dot, key = name.partition(".")
        if dot:
            values.setdefault(section, {})[key] = value
        else:
            values[name] = value
    return flat(values)


def _items(section: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a section and their values; of a table in it, each under a key of its own."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{part_label(inner)}", item) for inner, item in value.items())
        else:
            yield key, value


def _plain(value: Any) -> Any:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else value


def _filled(section: str, kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """The plain values of a section with the keys that its dataclass has, where that is known."""
    node = SINGLE.get(section) or VARIANTS.get(section, {}).get(kind)
    if node is None:
        return values
    known = retired.without_off(section, node, values)
    return known | {k: v for k, v in _plain_defaults(node).items() if k not in known}


@cache
def _plain_defaults(node: type) -> dict[str, Any]:
    return _values(_defaults(node))


def _values(defaults: dict[str, Any]) -> dict[str, Any]:
    return {k: v.value if isinstance(v, Enum) else v for k, v in defaults.items()}


def _typed(values: dict[str, Any], key: str) -> str:
    """The value of a key; a variant may lack it."""
    value = values.get(key, "no such key")
    return value if isinstance(value, str) else json.dumps(value)


def _defaults(section: Any) -> dict[str, Any]:
    defaults = {}
    for field in dataclasses.fields(section):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    return defaults
