"""The seal of a JSON file: a digest of all else in it, so that no change to it goes unseen."""

from pathlib import Path
from typing import Any

from gptexp.files import json_sha256, sha256

SEAL = "seal"
JOURNALS = ("metrics.jsonl", "samples.jsonl")


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """The value with its seal."""
    return {**value, SEAL: json_sha256(value)}


def is_broken(value: dict[str, Any]) -> bool:
    """Whether there is a seal, and it is not that of the rest; an earlier gptexp wrote none."""
    rest = {key: item for key, item in value.items() if key != SEAL}
    return SEAL in value and value[SEAL] != json_sha256(rest)


def journal_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each journal that a run has, for what is written at its end; raises OSError."""
    return {name: sha256(folder / name) for name in JOURNALS if (folder / name).is_file()}
