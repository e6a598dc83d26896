"""A picture of a page: `python -m benchmarks.screenshot outputs/NAME hparams to.png`.

Of `gptexp tensorboard` hparams or custom_scalars; or `playground`, that of the runs in a folder.
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
from tempfile import TemporaryDirectory

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


def play(folder: Path, to: Path) -> None:
    """The page of a folder's runs, once it has written 300 tokens behind a name, and no further."""
    with TemporaryDirectory() as kept, sync_playwright() as playwright:
        page_file = Path(kept) / "playground.html"
        command = [sys.executable, "-m", "gptexp.cli", "playground", str(folder)]
        subprocess.run([*command, "--to", str(page_file)], check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1060, "height": 800})
        page.goto(f"{page_file.as_uri()}#p=ROMEO:%0A&n=300&s=1")
        page.click("#write")
        page.get_by_text("Done: 300 tokens").wait_for(timeout=60_000)
        page.wait_for_timeout(1000)  # bars grow with a transition
        size = page.locator("#inside").bounding_box()
        below = 1 + size["y"] + size["height"]
        page.screenshot(
            path=to, full_page=True, clip={"x": 0, "y": 0, "width": 1060, "height": below}
        )
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of runs, outputs/NAME")
    parser.add_argument("page", choices=[*SIZES, "playground"], help="which page")
    parser.add_argument("to", type=Path, help="the PNG")
    arguments = parser.parse_args()
    if arguments.page == "playground":
        return play(arguments.folder, arguments.to)
    with tensorboard(arguments.folder) as url:
        shoot(url, arguments.page, arguments.to)


if __name__ == "__main__":
    main()
