"""Keys and passwords that were typed on a command line are not kept in the files of a run."""

import re
import sys

MASK = "***"

ENVIRONMENT = re.compile(r"(hydra\.job\.env_set\b[^=]*=).+", re.DOTALL)
NAMED = re.compile(  # what follows a name that says so, but for a folder of a path
    r"((?<![a-z/])(?:token|api[_-]?key|(?:access|secret)[_-]?key|secret|password|passwd|pwd)"
    r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s&,;}\])]+)",
    re.IGNORECASE,
)
SHAPED = re.compile(  # what looks like a key by itself
    r"(?<![\w/.-])(?:"
    r"(?:local-)?[0-9a-fA-F]{40}"  # W&B
    r"|wandb_v\d+_\w{16,}"
    r"|hf_[A-Za-z0-9]{16,}"
    r"|sk-[\w-]*\w{16,}[\w-]*"  # OpenAI, Anthropic
    r"|(?:gh[a-z]|github_pat|glpat|xox[a-z])[_-][\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"  # a JSON web token
    r")(?![\w/.-])"
)
IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def masked(word: str) -> str:
    """The word with stars for each secret in it, and bytes that are no UTF-8, which no JSON can
    hold, spelled out."""
    word = word.encode(errors="backslashreplace").decode()
    word = NAMED.sub(rf"\1{MASK}", ENVIRONMENT.sub(rf"\1{MASK}", word))
    return IN_URL.sub(MASK, SHAPED.sub(MASK, word))


def hide_command_line() -> None:
    """Mask it for whoever reads it from now on, once it was parsed."""
    sys.argv[1:] = map(masked, sys.argv[1:])
