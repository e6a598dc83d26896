"""Pages with models inside, and the scripts that run them."""

import base64
import json
import re
from typing import Any

from small_runs import ROOT

from gptexp.models.base import Model
from gptexp.playground.pack import Packed, pack
from gptexp.playground.page import SCRIPTS
from gptexp.playground.spec import model_spec

FOLDER = ROOT / "gptexp" / "playground"

# Every logit of each text, read token by token.
READ = """([spec, tensors, data, texts]) => {
  const engine = engineOf(spec, unpack(tensors, data));
  return texts.map((ids) => {
    engine.reset();
    return ids.map((id) => Array.from(engine.read(id)));
  });
}"""


def scripts(page: Any, *more: str) -> Any:
    """The page with all scripts that need none of its elements, and more of them."""
    for name in (*SCRIPTS[: SCRIPTS.index("figures")], *more):
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
