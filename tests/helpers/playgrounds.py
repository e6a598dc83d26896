"""Pages with models inside, and the Chromium that runs them."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from small_runs import ROOT

from gptexp.models.base import Model
from gptexp.playground.pack import Packed, pack
from gptexp.playground.page import SCRIPTS
from gptexp.playground.spec import model_spec

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]  # as a container wants it

FOLDER = ROOT / "gptexp" / "playground"

# Every logit of each text, read token by token.
READ = """([spec, tensors, data, texts]) => {
  const engine = engineOf(spec, unpack(tensors, data));
  return texts.map((ids) => {
    engine.reset();
    return ids.map((id) => Array.from(engine.read(id)));
  });
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, or the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def scripts(page: Any) -> Any:
    """The page with all scripts that need none of its elements."""
    for name in SCRIPTS[: SCRIPTS.index("figures")]:
        page.add_script_tag(content=(FOLDER / f"{name}.js").read_text(encoding="utf-8"))
    return page


def runs_of(page: str) -> list[dict[str, Any]]:
    """What a written page says of each of its runs."""
    [found] = re.findall(r'id="facts">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)["runs"]


def packed(model: Model, kind: str) -> tuple[Packed, list[Any]]:
    """A packed model, and what the page's engine is given of it."""
    made = pack(model, kind, "run")
    spec = model_spec(model.cfg, model.vocab_size)
    return made, [spec, made.tensors, base64.b64encode(made.data).decode()]
