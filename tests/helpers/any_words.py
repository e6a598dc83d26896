"""Words of a command line as nobody plans them: any key, with any value."""

import os
from pathlib import Path

from hypothesis import strategies as st
from small_runs import CHOICES

from gptexp.config.names import key_names

KEYS = key_names()

ALPHABET = st.one_of(  # what Hydra, YAML, shells and terminals each take for their own
    st.sampled_from("""'"[](){}$,:=#%&*!|><?@`~^+-./\\ \t\n\r_;aeE0179"""),
    st.characters(codec="utf-8"),
    st.sampled_from("\0\x1b\x7f\x85\u2028\ufeff\u202e\udc80\udcff\ud800é日🙂"),
)
TEXTS = st.text(ALPHABET, max_size=12)

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, "9" * 5000]),
    st.sampled_from(
        ["1e400", "-0.0", "1e-400", "0x1f", "0o7", "1_000", "01", "+1", "1.", ".5", "1e3", ".e1"]
    ),
    st.sampled_from(["nan", "inf", "-inf", "NaN", "Infinity", "-nan", ".inf", ".nan"]),
).map(str)

NAMED = st.sampled_from(
    [
        *(
            "null",
            "NULL",
            "~",
            "true",
            "False",
            "yes",
            "off",
            "???",
            "",
            " ",
            "''",
            '""',
            "[]",
            "{}",
        ),
        *("${seed}", "${name}", "${model}", "${model.n_embd}", "${nope}", "${oc.env:HOME}"),
        *(
            "${oc.env:NO_SUCH}",
            "${oc.decode:[}",
            "${oc.select:seed}",
            "${",
            "${}",
            "\\${a}",
            "${.a}",
        ),
        *("${oc.dict.keys:model}", "${oc.create:{a:1}}", "${hydra.job.name}", "${hydra:job.name}"),
        *("${nobody:x}", "${now:%Y}", "${oc.deprecated:seed}", "${oc.env:HOME,1}", "a${seed}b"),
        *("choice(1,2)", "range(1,3)", "interval(0,1)", "glob(*)", "sort(2,1)", "shuffle(a,b)"),
        *("str(1)", "int(1.5)", "float(1)", "bool(1)", "json_str(1)", "tag(a,1)", "extend_list(1)"),
        *("2026-01-01", "12:30:45", "!!python/name:os.system", "&a", "*a", "<<", "[1,2]", "{a:1}"),
    ]
)

STRUCTURES = st.recursive(
    st.one_of(NUMBERS, NAMED, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.dictionaries(TEXTS, inner, max_size=2).map(
            lambda items: "{" + ",".join(f"{k}:{v}" for k, v in items.items()) + "}"
        ),
    ),
    max_leaves=4,
)

VALUES = st.one_of(NUMBERS, NAMED, TEXTS, STRUCTURES)
CHOSEN = st.sampled_from([f"{group}={name}" for group, names in CHOICES.items() for name in names])
PREFIXES = st.sampled_from([*[""] * 12, "+", "++", "~"])

# The values of a careful person now and then, so that whole configs come up too.
FITTING = st.builds(
    "{}={}".format, st.sampled_from(KEYS), st.sampled_from(["1", "2", "0.1", "0", "true", "null"])
)
OVERRIDES = st.builds("{}{}={}".format, PREFIXES, st.sampled_from(KEYS), VALUES)
WORDS = st.one_of(OVERRIDES, OVERRIDES, CHOSEN, FITTING, TEXTS)
COMMANDS = st.lists(WORDS, min_size=1, max_size=4)


def can_be_typed(words: list[str]) -> bool:
    """Whether a system hands them to a process: no NUL, no half of a pair, not too long."""
    try:
        return all(b"\0" not in os.fsencode(word) and len(word) < 100_000 for word in words)
    except UnicodeEncodeError:
        return False


def _are_overrides(words: list[str]) -> bool:
    """Whether Hydra is asked for nothing else by them, as by an option or a setting of its own."""
    return not any(word.startswith("-") or "=" not in word or "hydra" in word for word in words)


TYPEABLE = COMMANDS.filter(_are_overrides).filter(can_be_typed)


def completed(words: list[str], text: Path) -> list[str]:
    """The words, after those that make a config of them: a text to read, and no dashboard."""
    given = {word.partition("=")[0].lstrip("+~") for word in words}
    asked = {"data": "data=text", "data.path": f"data.path={text}", "logger": "logger=none"}
    return [*(word for key, word in asked.items() if key not in given), *words]
