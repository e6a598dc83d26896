"""A real TensorBoard in a process of its own, asked over HTTP."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

SECONDS = 60  # for a server to start and to have read everything
STATUSES = [f"STATUS_{word}" for word in ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")]


class Server:
    """A command that serves TensorBoard at the port that is added to it, and what it answers."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/data"
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )

    def get(self, path: str, body: Any = None, **query: Any) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(
            f"{self.url}/{path}?{urllib.parse.urlencode(query)}",
            data,
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(question, timeout=SECONDS) as answer:
            return answer.read()

    def json(self, path: str, body: Any = None, **query: Any) -> Any:
        return json.loads(self.get(path, body, **query))

    def session_groups(self, *columns: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of the page of hyper-parameters, sorted and filtered by columns."""
        question = {
            "experimentName": "",
            "allowedStatuses": STATUSES,
            "colParams": columns,
            "startIndex": 0,
            "sliceSize": 100,
        }
        return self.json("plugin/hparams/session_groups", question)["sessionGroups"]

    def columns(self) -> list[dict[str, Any]]:
        """The keys that the page of hyper-parameters shows, the first five at once."""
        return self.json("plugin/hparams/experiment", {"experimentName": ""})["hparamInfos"]

    def check_columns(self) -> None:
        """Sort by every column, and filter by each that differs, in each way that the page has."""
        columns = self.columns()
        rows = [group["hparams"] for group in self.session_groups()]
        for order in ("ORDER_ASC", "ORDER_DESC"):
            self.session_groups(*({"hparam": info["name"], "order": order} for info in columns))
        for key, kind in ((info["name"], info["type"]) for info in columns if info["differs"]):
            present = sorted(row[key] for row in rows if key in row)
            found = self.session_groups({"hparam": key, "order": "ORDER_DESC"})
            shown = [group["hparams"][key] for group in found if key in group["hparams"]]
            assert shown == present[::-1]
            for condition in conditions(present[0], kind):
                asked = {"hparam": key, "excludeMissingValues": True, **condition}
                assert len(self.session_groups(asked)) == present.count(present[0])

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that is asked of the server holds."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                if holds():
                    return
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for(self, tag: str, runs: set[str]) -> None:
        """Until `tag`, which comes late in a file, has been read of each of the runs, and no other.

        Pages that know other runs by then are those of before.
        """

        def read() -> bool:
            found = self.json("plugin/scalars/tags")
            return {run for run, tags in found.items() if tag in tags} == runs

        self.until(read)

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=SECONDS)


def conditions(value: Any, kind: str) -> list[dict[str, Any]]:
    """The filters of the page that let one value of a column pass."""
    ways: list[dict[str, Any]] = [{"filterDiscrete": [value]}]
    if kind == "DATA_TYPE_FLOAT64":
        ways.append({"filterInterval": {"minValue": value, "maxValue": value}})
    elif kind == "DATA_TYPE_STRING":
        ways.append({"filterRegexp": f"^{re.escape(value)}$"})
    return ways


def has_data_server() -> bool:
    try:
        import tensorboard_data_server
    except ImportError:
        return False
    return tensorboard_data_server.server_binary() is not None
