"""W&B without its service: offline runs read back, and servers that do not do their part."""

import json
import math
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CLOSED = "http://127.0.0.1:9"  # nobody listens there
KEY = "0123456789abcdef0123456789abcdef01234567"
SAMPLE_COLUMNS = ["step", "prompt", "text", "temperature", "top_k", "seed"]
WORDS = {"NaN": "nan", "Infinity": math.inf, "-Infinity": -math.inf}


def harmless(folder: Path) -> dict[str, str]:
    """An environment in which W&B finds no key, no settings and no server."""
    (folder / "netrc").touch()
    names = ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR", "ARTIFACT_DIR")
    return {
        "WANDB_BASE_URL": CLOSED,
        "WANDB_ERROR_REPORTING": "false",
        "NETRC": str(folder / "netrc"),
        **{f"WANDB_{name}": str(folder / name.lower()) for name in names},
    }


def offline_folders(run: Path) -> list[Path]:
    return sorted((run / "wandb").glob("offline-run-*"))


def records(folder: Path) -> list[dict[str, Any]]:
    """All that a run's transaction log holds, as `wandb leet inspect` shows it.

    Asked of W&B's own process: its command takes seconds to import what it does not need here.
    """
    from wandb.util import get_core_path

    [log] = folder.glob("*.wandb")
    options = ("--no-observability", "--json", "--run-file", str(log))
    shown = subprocess.run(
        [get_core_path(), "leet", "inspect", *options, str(folder.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in shown.stdout.splitlines()]


def of(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


def history(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["item"] for record in of(found, "history")]


def curves_of(found: list[dict[str, Any]]) -> dict[str, list[tuple[int, Any]]]:
    """The points of each curve: those of metrics.jsonl, by their own step; NaN as `nan`."""
    curves: dict[str, list[tuple[int, Any]]] = {}
    for item in history(found):
        for name, value in item.items():
            if name.startswith(("train/", "val/")):
                curves.setdefault(name, []).append((item["step"], WORDS.get(value, value)))
    return curves


def histograms_of(found: list[dict[str, Any]]) -> dict[str, list[tuple[int, Any]]]:
    """Edges and counts of each histogram, by its own step."""
    shown: dict[str, list[tuple[int, Any]]] = {}
    for item in history(found):
        for name in (key.removesuffix("._type") for key in item if item[key] == "histogram"):
            shape = (item[f"{name}.bins"], item[f"{name}.values"])
            shown.setdefault(name, []).append((item["step"], shape))
    return shown


def summary_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The values that stand beside the run's name, as they were last written."""
    return {key: v for update in of(found, "summary") for key, v in update["update"].items()}


def sample_rows(folder: Path) -> list[tuple[int, str]]:
    """Step and whole text of each row in a run's tables of samples."""
    tables = [json.loads(path.read_text()) for path in folder.rglob("*.table.json")]
    assert all(table["columns"] == SAMPLE_COLUMNS for table in tables)
    rows = [
        dict(zip(SAMPLE_COLUMNS, row, strict=True)) for table in tables for row in table["data"]
    ]
    return sorted((row["step"], row["prompt"] + row["text"]) for row in rows)


def pictures_of(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """The PNG files of each picture of a run, with their steps."""
    shown: dict[str, list[tuple[int, bytes]]] = {}
    for item in history(records(folder)):
        for name in (key.removesuffix("._type") for key in item if item[key] == "image-file"):
            picture = (folder / "files" / item[f"{name}.path"]).read_bytes()
            shown.setdefault(name, []).append((item["step"], picture))
    return shown


class Answers(BaseHTTPRequestHandler):
    """Answers everything with one status and body."""

    status, body = 200, b"{}"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that has one answer to everything."""
    handler = type("Handler", (Answers,), {"status": status, "body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
