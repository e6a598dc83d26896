"""W&B without its service: offline runs read back, and servers that do not do their part."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CLOSED = "http://127.0.0.1:9"  # nobody listens there
KEY = "0123456789abcdef0123456789abcdef01234567"


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
    """All that a run's transaction log holds."""
    shown = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)],
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
                curves.setdefault(name, []).append(
                    (item["step"], str(value).lower() if value == "NaN" else value)
                )
    return curves


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
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
