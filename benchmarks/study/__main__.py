"""Train a study point by point, and make docs/study.md of its lines.

python -m benchmarks.study sweeps=flagship --minutes 60   # trains, and goes on where it stopped
python -m benchmarks.study sweeps=flagship --list         # what is done, and how long for the rest
python -m benchmarks.study --write                        # docs/study.md and figures, of the lines

Studies are modernise, regularise, flagship and records; a point that is over is a line of
results/STUDY.jsonl, and no such point is trained again. Other words narrow a study, as seed=0.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.study import lines
from benchmarks.study.listing import codes, listing
from benchmarks.study.points import Study, results
from benchmarks.study.together import RECORDS, judge_together
from benchmarks.study.work import train
from gptexp.errors import GptexpError


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("overrides", nargs="*", help="sweeps=STUDY, and what narrows it")
    add("--minutes", type=float, help="after which it stops, and saves the point in work")
    add("--list", action="store_true", help="train nothing; say what is done and left")
    add("--write", action="store_true", help="train nothing; make the page and its figures")
    add("--json", type=Path, help="the file of lines, for results/STUDY.jsonl")
    args = parser.parse_intermixed_args(words)
    if args.write == bool(args.overrides):
        parser.error("either sweeps=STUDY or --write")
    return args


def main(words: list[str] | None = None) -> int:
    args = arguments(words)
    try:
        if args.write:
            from benchmarks.study.page import write  # matplotlib

            return write()
        study = Study(args.overrides)
        file = args.json or results(study.name)
        if args.list:
            print("\n".join(listing(study, lines.read(file))))
            return 0
        code = train(study, file, args.minutes)
        if study.name == RECORDS:
            judge_together(study, file)
        print("\n".join(summed_up(study, file)))
        return code
    except GptexpError as error:
        for problem in error.problems:
            print(f"study: {problem}", file=sys.stderr)
        return error.exit_code


def summed_up(study: Study, file: Path) -> list[str]:
    """The end of a call: how far the study is."""
    known = lines.read(file)
    over, points = {line.hash for line in known}, study.resolved(known)
    count = sum(not point.waits and point.hash in over for point in points)
    return [f"{count} of {len(points)} points are over; their lines are in {file}", *codes(known)]


if __name__ == "__main__":
    sys.exit(main())
