"""A server that records each request and gives the answers that a test has set, and the means to run a script against it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"
# With everything that a shell, a JSON string and curl's configuration file treat specially.
PASSWORDS = {
    "elastic_password": 'root "quoted" \\back $HOME:x',
    "kibana_system_password": "kibana'system{}",
    "filebeat_password": "file beat%\\",
    "grafana_elasticsearch_password": "grafana&<>",
    "kibana_alerts_password": 'alerts"\\"',
    "grafana_admin": "admin-of-grafana",
}


@dataclass
class Request:
    method: str
    path: str
    body: str
    login: Optional[tuple[str, str]]
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


# A status and a body: text, or what becomes JSON.
Answer = tuple[int, Any]
Answers = Callable[[Request], Answer]


class Recorder:
    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1  # One packet an answer: two would wait for each other.

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                kind, _, value = self.headers.get("Authorization", "").partition(" ")
                login = None
                if kind == "Basic":
                    user, _, password = base64.b64decode(value).decode().partition(":")
                    login = (user, password)
                request = Request(self.command, self.path, body, login, {k.lower(): v for k, v in self.headers.items()})
                recorder.requests.append(request)
                status, answer = recorder.answers(request)
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def calls(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def find(self, call: str) -> Request:
        return next(request for request in self.requests if f"{request.method} {request.path}" == call)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Sandbox:
    """A folder with the secrets, and a curl that notes its arguments: what is in them, everybody on the machine can read."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="medassist-elk-"))
        self.secrets = self.folder / "secrets"
        self.secrets.mkdir()
        for name, password in PASSWORDS.items():
            (self.secrets / name).write_text(password + "\n")
        self.arguments = self.folder / "arguments"
        self.arguments.touch()
        self.program("curl", f'exec {shutil.which("curl")} "$@"')

    def program(self, name: str, script: str) -> None:
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >>{self.arguments}\n{script}\n')
        file.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "TMPDIR": str(self.folder), "SECRETS_DIR": str(self.secrets), "WAIT_SECONDS": "5", **variables}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment(**variables), capture_output=True, text=True, timeout=60)

    def leaks(self, done: subprocess.CompletedProcess[str]) -> list[str]:
        public = done.stdout + done.stderr + self.arguments.read_text()
        return [name for name, password in PASSWORDS.items() if password in public]

    def close(self) -> None:
        shutil.rmtree(self.folder)
