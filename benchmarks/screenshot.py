"""TensorBoard's page of custom scalars: `python benchmarks/screenshot.py outputs/NAME to.png`.

Needs the `browser` extra and a Chromium on the system (`apt-get install chromium`).
"""

import argparse
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

PORT = 6116
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]  # as a container wants it
WIDTH, HEIGHT = 1080, 395


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows `folder`."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port"]
    server = subprocess.Popen(
        [*command, str(PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://localhost:{PORT}"
    finally:
        server.terminate()
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def shoot(url: str, to: Path) -> None:
    """The page with unsmoothed curves; waits until the first chart is drawn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        while not answers(url):
            page.wait_for_timeout(200)
        page.goto(f"{url}/#custom_scalars")
        page.wait_for_selector("vz-line-chart2 path", state="attached", timeout=60_000)
        smoothing = page.locator("tf-smoothing-input input").last
        smoothing.fill("0")
        smoothing.press("Enter")
        page.wait_for_timeout(3000)  # the charts are drawn anew, with a transition
        page.screenshot(path=to)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of runs, outputs/NAME")
    parser.add_argument("to", type=Path, help="the PNG")
    arguments = parser.parse_args()
    with tensorboard(arguments.folder) as url:
        shoot(url, arguments.to)


if __name__ == "__main__":
    main()
