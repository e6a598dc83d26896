"""Dialogues that are made here, a few hundred small ones, in the form that data=chat reads.

Words of two syllables are said again or backwards, and 1 is added to numbers of three digits. No
question is there twice, so none of those that are held out was trained on. All follows from SEED
by `random.Random.random`, whose numbers no version of Python changes, so the bytes are the same
on every machine and an asset knows their digest. On the standard library alone.
"""

import json
import random

SEED, CONVERSATIONS, MOST_QUESTIONS = 0, 600, 3

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


def make() -> bytes:
    """All dialogues, one a line of JSON."""
    drawn, asked = random.Random(SEED), set[str]()
    lines = []
    for _ in range(CONVERSATIONS):
        messages = []
        for _ in range(1 + _below(drawn, MOST_QUESTIONS)):
            while (turn := _turn(drawn))[0] in asked:
                pass
            asked.add(turn[0])
            roles = zip(("user", "assistant"), turn, strict=True)
            messages += [{"role": role, "content": content} for role, content in roles]
        lines.append(json.dumps({"messages": messages}))
    return "".join(f"{line}\n" for line in lines).encode()


def _turn(drawn: random.Random) -> tuple[str, str]:
    """A question and its answer."""
    kind = _below(drawn, 3)
    if kind == 2:
        number = 100 + _below(drawn, 900)
        return f"{number}+1", str(number + 1)
    word = "".join(letters[_below(drawn, len(letters))] for letters in 2 * (CONSONANTS, VOWELS))
    return (f"say {word}", word) if kind else (f"reverse {word}", word[::-1])


def _below(drawn: random.Random, most: int) -> int:
    return int(drawn.random() * most)
