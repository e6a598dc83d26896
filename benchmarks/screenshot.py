"""A page of `gptexp tensorboard`: `python -m benchmarks.screenshot outputs/NAME hparams to.png`.

Needs the `browser` extra and a Chromium on the system (`apt-get install chromium`).
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]  # as a container wants it
SIZES = {"custom_scalars": (1080, 430), "hparams": (1280, 480)}
DRAWN = {"custom_scalars": "vz-line-chart2 path", "hparams": "vaadin-grid-cell-content"}


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the runs in `folder` by their labels."""
    command = [sys.executable, "-m", "gptexp.cli", "tensorboard", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = (re.match(r"open +(\S+?)\?", line) for line in server.stdout)
        yield next(found[1] for found in lines if found)
        server.terminate()


def shoot(url: str, page_name: str, to: Path) -> None:
    """The page once its first chart or row is drawn."""
    width, height = SIZES[page_name]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{url}#{page_name}")
        page.wait_for_selector(DRAWN[page_name], state="attached", timeout=60_000)
        page.wait_for_timeout(3000)  # charts are drawn with a transition
        page.screenshot(path=to)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of runs, outputs/NAME")
    parser.add_argument("page", choices=[*SIZES], help="which page")
    parser.add_argument("to", type=Path, help="the PNG")
    arguments = parser.parse_args()
    with tensorboard(arguments.folder) as url:
        shoot(url, arguments.page, arguments.to)


if __name__ == "__main__":
    main()
