"""Kibana's alert on its way to Alertmanager, which is a real one here."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import unittest
import urllib.parse
import urllib.request
from typing import Any, Callable

from recorder import COMPOSE, PASSWORDS, ROOT, Answer, Recorder, Request, Sandbox

COUNT = "/.alerts-stack.alerts-*/_count"


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class ForwardAlerts(unittest.TestCase):
    def setUp(self) -> None:
        self.active = 0
        self.status = 200
        self.recorder = Recorder(self.answer)
        self.addCleanup(self.recorder.close)
        self.sandbox = Sandbox()
        self.addCleanup(self.sandbox.close)
        self.alertmanager = f"http://127.0.0.1:{self.start_alertmanager()}"

    def answer(self, request: Request) -> Answer:
        return self.status, {"count": self.active, "_shards": {"total": 1, "successful": 1}}

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)

        def stop() -> None:
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(stop)
        return process

    def start_alertmanager(self) -> int:
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        self.assertIsNotNone(program, "Alertmanager is not installed: tests/install-packages.sh")
        config = self.sandbox.folder / "alertmanager.yml"
        config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
        port = free_port()
        self.start(str(program), f"--config.file={config}", f"--storage.path={self.sandbox.folder / 'alertmanager'}",
                   f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=")

        def ready() -> bool:
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200
            except OSError:
                return False

        wait_for("Alertmanager is ready", ready)
        return port

    def forward(self, **variables: str) -> "subprocess.Popen[str]":
        self.alive = self.sandbox.folder / "alive"
        return self.start("bash", str(COMPOSE / "kibana/forward-alerts.sh"), env=self.sandbox.environment(
            ELASTICSEARCH_URL=self.recorder.url, ALERTMANAGER_URL=self.alertmanager, ALIVE_FILE=str(self.alive),
            LINKS_URL="http://links.test", **{"EVERY_SECONDS": "1", **variables}))

    def alerts(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.alertmanager}/api/v2/alerts", timeout=5) as answer:
            return json.load(answer)

    def test_raises_the_alert_while_the_rule_is_active_and_no_longer(self) -> None:
        process = self.forward()
        wait_for("two rounds", lambda: len(self.recorder.requests) >= 2)
        self.assertEqual(self.alerts(), [])

        self.active = 1
        wait_for("the alert is in Alertmanager", lambda: len(self.alerts()) == 1)
        alert = self.alerts()[0]
        expected = json.loads((COMPOSE / "kibana/alert.json").read_text().replace("@LINKS_URL@", "http://links.test"))[0]
        self.assertEqual(alert["labels"], expected["labels"])
        self.assertEqual(alert["annotations"], expected["annotations"])
        # It outlives its own end of three rounds, because each round repeats it.
        rounds = len(self.recorder.requests)
        wait_for("five more rounds", lambda: len(self.recorder.requests) > rounds + 5)
        self.assertEqual([now["fingerprint"] for now in self.alerts()], [alert["fingerprint"]])

        self.active = 0
        wait_for("Alertmanager has resolved the alert", lambda: not self.alerts())
        self.assertIsNone(process.poll())

    def test_queries_its_rule_as_the_user_that_may_only_read(self) -> None:
        self.forward()
        wait_for("one round", self.alive.exists)
        request = self.recorder.requests[0]
        self.assertEqual(request.method, "GET")
        path, _, query = request.path.partition("?")
        self.assertEqual(path, COUNT)
        self.assertEqual(urllib.parse.unquote(query), 'q=kibana.alert.status:active AND kibana.alert.rule.uuid:"medassist-5xx"')
        self.assertEqual(request.login, ("medassist_alerts", PASSWORDS["kibana_alerts_password"]))
        public = self.sandbox.arguments.read_text()
        self.assertEqual([name for name, password in PASSWORDS.items() if password in public], [])

    def test_ends_with_a_clear_line_when_elasticsearch_refuses(self) -> None:
        self.status = 403
        process = self.forward()
        output, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1, output)
        self.assertIn(f"FAILED: GET {self.recorder.url}{COUNT}", output)
        self.assertIn("answered 403", output)
        self.assertFalse(self.alive.exists(), "a round that failed must not count as alive")

    def test_ends_with_a_clear_line_when_alertmanager_is_away(self) -> None:
        self.active = 1
        self.alertmanager = f"http://127.0.0.1:{free_port()}"
        process = self.forward(WAIT_SECONDS="1")
        output, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1, output)
        self.assertIn(f"FAILED: POST {self.alertmanager}/api/v2/alerts: not ready after 1 s", output)

    def test_ends_at_once_with_sigterm(self) -> None:
        process = self.forward(EVERY_SECONDS="600")
        wait_for("one round", self.alive.exists)
        process.terminate()
        output, _ = process.communicate(timeout=10)
        self.assertEqual((process.returncode, output), (0, ""))
        self.assertEqual(list(self.sandbox.folder.glob("tmp.*")), [], "the login is left on the disk")

    def test_the_alert_is_routed_and_has_a_runbook(self) -> None:
        alert = json.loads((COMPOSE / "kibana/alert.json").read_text())[0]
        labels = [f"{name}={value}" for name, value in alert["labels"].items()]
        config = self.sandbox.folder / "alertmanager.yml"
        rendered = subprocess.run([ROOT / "alertmanager/render", ROOT / "alertmanager/targets/compose"],
                                  capture_output=True, text=True, check=True).stdout
        config.write_text(rendered)
        route = subprocess.run(["amtool", "config", "routes", "test", f"--config.file={config}", *labels],
                               capture_output=True, text=True, check=True).stdout.strip()
        self.assertEqual(route, alert["labels"]["severity"])
        runbook = alert["annotations"]["runbook_url"].removeprefix("@LINKS_URL@/")
        dashboard = alert["annotations"]["dashboard_url"].removeprefix("@LINKS_URL@/d/")
        self.assertTrue((ROOT / runbook).is_file())
        self.assertTrue((ROOT / f"grafana/dashboards/{dashboard}.json").is_file())


if __name__ == "__main__":
    unittest.main()
