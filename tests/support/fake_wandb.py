"""A fake W&B server, with just enough of the interface for one run."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "p", "name": "mcl", "entity": {"id": "e", "name": "me"}}


class FakeWandb:
    """A server that listens during a ``with`` block, or until `lose` is called.

    Args:
        status: HTTP status of every response except that of the front page, which always succeeds.
    """

    def __init__(self, status: int = 200) -> None:
        self.sent: list[dict[str, Any]] = []  # bodies of the file stream requests
        self.alerts: list[dict[str, Any]] = []  # variables of the requests
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answer: dict[str, Any] = {}
                if self.path == "/graphql":
                    request = json.loads(body)
                    answer = _response(request)
                    if "Alert" in request["query"]:
                        fake.alerts.append(request["variables"])
                elif self.path.endswith("/file_stream"):
                    fake.sent.append(json.loads(body))
                self._say(status, answer)

            def do_GET(self) -> None:
                self._say(200, {})

            def _say(self, status: int, answer: dict[str, Any]) -> None:
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeWandb":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def lose(self) -> None:
        """Stop the server; further requests get no response."""
        self._server.shutdown()
        self._server.server_close()

    def __exit__(self, *_: object) -> None:
        self.lose()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the history that were sent."""
        files = [part["files"]["wandb-history.jsonl"] for part in self.sent if "wandb-history.jsonl" in part["files"]]
        return [json.loads(line) for file in files for line in file["content"]]

    def contents(self, name: str) -> list[str]:
        """Return the lines of a file that were sent, such as ``output.log``."""
        return [line for part in self.sent if name in part.get("files", {}) for line in part["files"][name]["content"]]

    @property
    def exit_codes(self) -> list[int]:
        return [part["exitcode"] for part in self.sent if part.get("complete")]


def _response(request: dict[str, Any]) -> dict[str, Any]:
    query = request["query"]
    if "RunResumeStatus" in query:
        return {"data": {"model": {**PROJECT, "bucket": None}}}
    if "UpsertBucket" in query:
        name = request["variables"]["name"]
        bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "project": PROJECT}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
    return {"data": None, "errors": [{"message": "unknown"}]}
