"""Write the table of all keys into docs/configuration.md: `python docs/keys.py`.

It is made from the dataclasses of gptexp/config, where each key has its type and its meaning.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed

from gptexp.config.keys import all_keys

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"


def table() -> str:
    """All keys as a Markdown table."""
    lines = ["| key | of | type | meaning |", "|---|---|---|---|"]
    for key in all_keys():
        meaning = key.meaning.replace("|", chr(92) + "|")
        lines.append(f"| `{key.name}` | {', '.join(key.of)} | {key.kind} | {meaning} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page, with the table as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
