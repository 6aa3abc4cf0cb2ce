"""The one-shot scripts of Elasticsearch and Kibana: which requests they send, and what they print when one is refused."""

from __future__ import annotations

import json
import socket
import unittest
from typing import Any

from recorder import COMPOSE, PASSWORDS, Answer, Recorder, Request, Sandbox

ELASTICSEARCH_CALLS = [
    "GET /_cluster/health?wait_for_status=yellow&timeout=5s",
    "POST /_security/user/kibana_system/_password",
    "PUT /_security/role/medassist_filebeat", "PUT /_security/user/medassist_filebeat",
    "PUT /_security/role/medassist_grafana", "PUT /_security/user/medassist_grafana",
    "PUT /_security/role/medassist_alerts", "PUT /_security/user/medassist_alerts",
    "PUT /_component_template/logs-medassist@custom",
    "PUT /_index_template/logs-medassist",
    "PUT /_data_stream/logs-medassist.api-default",
    "PUT /_data_stream/logs-medassist.containers-default",
    "PUT /_data_stream/logs-medassist.*/_lifecycle",
    "PUT /_data_stream/logs-medassist.*/_options",
    "POST /_index_template/_simulate_index/logs-medassist.api-default",
    "GET /_data_stream/logs-medassist.api-default",
]
KIBANA_CALLS = [
    "GET /api/status",
    "POST /api/data_views/data_view",
    "POST /api/data_views/default",
    "PUT /api/dashboards/medassist-logs",
    "GET /api/dashboards/medassist-logs",
    "POST /api/saved_objects/_export",
    "GET /api/alerting/_health",
    "GET /api/alerting/rule/medassist-5xx",
]
RULE = "/api/alerting/rule/medassist-5xx"


class Elasticsearch:
    """Elasticsearch's answers, with what it remembers between two runs; `instead` replaces some."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.instead: dict[str, Answer] = {}

    def __call__(self, request: Request) -> Answer:
        call = f"{request.method} {request.path}"
        if call in self.instead:
            return self.instead[call]
        again, _ = call in self.seen, self.seen.add(call)
        if request.path.startswith("/_cluster/health"):
            return 200, {"status": "green", "timed_out": False}
        if request.path.endswith("/_password"):
            return 200, "{}"
        if "/_security/role/" in request.path:
            return 200, {"role": {"created": not again}}
        if "/_security/user/" in request.path:
            return 200, {"created": not again}
        if call.startswith("PUT /_data_stream/") and "*" not in call and again:
            return 400, {"error": {"type": "resource_already_exists_exception"}, "status": 400}
        if "_simulate_index" in call:
            return 200, {"template": {"mappings": {"properties": {"duration_ms": {"type": "float"}}}}}
        if call.startswith("GET /_data_stream/"):
            return 200, {"data_streams": [{"indices": [{"prefer_ilm": False}]}]}
        return 200, {"acknowledged": True}


class Kibana:
    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.instead: dict[str, Answer] = {}

    def __call__(self, request: Request) -> Answer:
        call = f"{request.method} {request.path}"
        if call in self.instead:
            return self.instead[call]
        again, _ = call in self.seen, self.seen.add(call)
        if "kbn-xsrf" not in request.headers:
            return 400, {"message": "Request must contain a kbn-xsrf header."}
        if call == "GET /api/status":
            return 200, '{"status":{"overall":{"level":"available"}}}'
        if call.startswith("PUT /api/dashboards/"):
            return (200 if again else 201), {"id": "medassist-logs"}
        if call == "POST /api/saved_objects/_export":
            return 200, '{"type":"dashboard"}\n{"exportedCount":2,"missingRefCount":0,"missingReferences":[]}\n'
        if call == "GET /api/alerting/_health":
            return 200, {"is_sufficiently_secure": True, "has_permanent_encryption_key": True}
        if call == f"GET {RULE}" and f"POST {RULE}" not in self.seen:
            return 404, {"statusCode": 404, "message": "Saved object [alert/medassist-5xx] not found"}
        if call == f"POST {RULE}" and again:
            return 409, {"statusCode": 409}
        if call.endswith("/_enable"):
            return 204, ""
        return 200, {}


class OneShot(unittest.TestCase):
    script = ""
    variable = ""

    def start(self, answers: Any) -> None:
        self.answers = answers
        self.recorder = Recorder(answers)
        self.addCleanup(self.recorder.close)
        self.sandbox = Sandbox()
        self.addCleanup(self.sandbox.close)

    def run_script(self, **variables: str):
        self.recorder.requests.clear()
        script = str(COMPOSE / self.script)
        done = self.sandbox.run("bash", script, **{self.variable: self.recorder.url, **variables})
        self.assertEqual(self.sandbox.leaks(done), [], "a password is in the output or in curl's arguments")
        return done

    def assert_fails(self, done, *words: str) -> None:
        """One line on standard error, which names the request and the answer."""
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("FAILED: ", done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def assert_body_is(self, call: str, file: str) -> None:
        self.assertEqual(self.recorder.find(call).json(), json.loads((COMPOSE / file).read_text()), call)


class ElasticsearchSetup(OneShot):
    script, variable = "elasticsearch/setup.sh", "ELASTICSEARCH_URL"

    def setUp(self) -> None:
        self.start(Elasticsearch())

    def test_sends_the_requests_in_order_as_elastic(self) -> None:
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls(), ELASTICSEARCH_CALLS)
        for request in self.recorder.requests:
            self.assertEqual(request.login, ("elastic", PASSWORDS["elastic_password"]), request.path)
            self.assertEqual(request.headers["content-type"], "application/json")

    def test_sends_the_files_as_bodies(self) -> None:
        self.run_script()
        for role in ("medassist_filebeat", "medassist_grafana", "medassist_alerts"):
            self.assert_body_is(f"PUT /_security/role/{role}", f"elasticsearch/roles/{role}.json")
        self.assert_body_is("PUT /_component_template/logs-medassist@custom", "elasticsearch/component-template.json")
        self.assert_body_is("PUT /_index_template/logs-medassist", "elasticsearch/index-template.json")
        self.assert_body_is("PUT /_data_stream/logs-medassist.*/_lifecycle", "elasticsearch/lifecycle.json")
        self.assert_body_is("PUT /_data_stream/logs-medassist.*/_options", "elasticsearch/options.json")

    def test_sets_the_passwords_character_by_character(self) -> None:
        self.run_script()
        users = {"medassist_filebeat": "filebeat_password", "medassist_grafana": "grafana_elasticsearch_password",
                 "medassist_alerts": "kibana_alerts_password"}
        for user, secret in users.items():
            body = self.recorder.find(f"PUT /_security/user/{user}").json()
            self.assertEqual(body, {"password": PASSWORDS[secret], "roles": [user]})
        body = self.recorder.find("POST /_security/user/kibana_system/_password").json()
        self.assertEqual(body, {"password": PASSWORDS["kibana_system_password"]})

    def test_takes_a_secret_with_the_line_end_of_windows(self) -> None:
        (self.sandbox.secrets / "elastic_password").write_bytes(PASSWORDS["elastic_password"].encode() + b"\r\n")
        self.assertEqual(self.run_script().returncode, 0)
        self.assertEqual(self.recorder.requests[0].login, ("elastic", PASSWORDS["elastic_password"]))

    def test_runs_again(self) -> None:
        self.assertEqual(self.run_script().returncode, 0)
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls(), ELASTICSEARCH_CALLS)

    def test_waits_until_the_server_is_ready(self) -> None:
        health = "/_cluster/health?wait_for_status=yellow&timeout=5s"
        codes = iter([503, 408, 200])
        inner = self.answers
        self.recorder.answers = lambda request: (next(codes), {}) if request.path == health else inner(request)
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls()[:4], [f"GET {health}"] * 3 + [ELASTICSEARCH_CALLS[1]])
        self.assertIn("waiting for", done.stdout)

    def test_waits_until_the_built_in_users_exist(self) -> None:
        codes = iter([404, 200])
        inner = self.answers
        self.recorder.answers = lambda request: (
            (next(codes), "{}") if request.path.endswith("/_password") else inner(request))
        self.assertEqual(self.run_script().returncode, 0)

    def test_names_a_wrong_password_of_elastic(self) -> None:
        self.answers.instead[ELASTICSEARCH_CALLS[0]] = (401, {"error": "unable to authenticate"})
        done = self.run_script()
        self.assert_fails(done, "/_cluster/health answered 401", "another password of elastic", "elasticsearch-reset-password")

    def test_names_a_server_that_is_not_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = self.run_script(ELASTICSEARCH_URL=url, WAIT_SECONDS="1")
        self.assert_fails(done, f"GET {url}/_cluster/health", "not ready after 1 s", "onnect")

    def test_names_every_request_that_is_refused(self) -> None:
        for call in ELASTICSEARCH_CALLS:
            # A stream that exists is 400, too, so that this code alone must not pass for one.
            code = 400 if "PUT /_data_stream" in call else 500
            with self.subTest(call=call):
                self.answers.instead = {call: (code, {"error": {"type": "some_exception"}, "status": code})}
                method, path = call.split("?")[0].split()
                self.assert_fails(self.run_script(), f"{method} {self.recorder.url}{path} answered {code}", "some_exception")

    def test_fails_when_the_retention_is_not_in_force(self) -> None:
        self.answers.instead[ELASTICSEARCH_CALLS[-1]] = (200, '{"data_streams": [{"prefer_ilm": true}]}')
        self.assert_fails(self.run_script(), "retention is not in force", '"prefer_ilm": true')

    def test_fails_when_the_mapping_does_not_reach_the_stream(self) -> None:
        self.answers.instead[ELASTICSEARCH_CALLS[-2]] = (200, {"template": {}})
        self.assert_fails(self.run_script(), "the template does not reach the stream")

    def test_names_a_secret_that_is_missing_empty_or_of_two_lines(self) -> None:
        for secret in ("elastic_password", "kibana_system_password", "filebeat_password"):
            file = self.sandbox.secrets / secret
            for content, reason in ((None, "missing"), ("\n", "empty"), ("a\nb\n", "more than one line")):
                with self.subTest(secret=secret, reason=reason):
                    file.unlink(missing_ok=True)
                    if content is not None:
                        file.write_text(content)
                    self.assert_fails(self.run_script(), str(file), reason)
            file.write_text(PASSWORDS[secret])


class KibanaSetup(OneShot):
    script, variable = "kibana/setup.sh", "KIBANA_URL"

    def setUp(self) -> None:
        self.start(Kibana())

    def test_creates_everything_on_the_first_run(self) -> None:
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls(), KIBANA_CALLS + [f"POST {RULE}"])
        self.assert_body_is("POST /api/data_views/data_view", "kibana/data-view.json")
        self.assert_body_is("POST /api/data_views/default", "kibana/default-data-view.json")
        self.assert_body_is("PUT /api/dashboards/medassist-logs", "kibana/dashboard.json")
        expected = json.loads((COMPOSE / "kibana/rule.json").read_text())
        expected |= {"rule_type_id": ".es-query", "consumer": "stackAlerts", "enabled": True}
        self.assertEqual(self.recorder.find(f"POST {RULE}").json(), expected)
        for request in self.recorder.requests:
            self.assertEqual(request.login, ("elastic", PASSWORDS["elastic_password"]), request.path)

    def test_replaces_and_enables_the_rule_on_the_next(self) -> None:
        self.run_script()
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls(), KIBANA_CALLS + [f"PUT {RULE}", f"POST {RULE}/_enable"])
        # Kibana refuses these three in the body of a PUT.
        self.assertFalse({"rule_type_id", "consumer", "enabled"} & set(self.recorder.find(f"PUT {RULE}").json()))

    def test_waits_until_kibana_is_available(self) -> None:
        levels = iter([(503, "Kibana server is not ready yet"), (200, '{"status":{"overall":{"level":"degraded"}}}')])
        inner = self.answers
        self.recorder.answers = lambda request: (
            next(levels, None) or inner(request) if request.path == "/api/status" else inner(request))
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.recorder.calls()[:3], ["GET /api/status"] * 3)

    def test_names_a_kibana_that_stays_unavailable(self) -> None:
        self.answers.instead["GET /api/status"] = (503, "Kibana server is not ready yet")
        self.assert_fails(self.run_script(WAIT_SECONDS="1"), "/api/status: not ready after 1 s", "it answers 503")
        self.answers.instead["GET /api/status"] = (200, '{"status":{"overall":{"level":"critical"}}}')
        self.assert_fails(self.run_script(WAIT_SECONDS="1"), "not available", "critical")

    def test_names_every_request_that_is_refused(self) -> None:
        for call in KIBANA_CALLS + [f"POST {RULE}"]:
            with self.subTest(call=call):
                self.answers.seen.clear()
                self.answers.instead = {call: (400, {"statusCode": 400, "message": "some reason"})}
                method, path = call.split()
                self.assert_fails(self.run_script(), f"{method} {self.recorder.url}{path} answered 400", "some reason")

    def test_fails_when_kibana_left_out_a_panel(self) -> None:
        self.answers.instead["GET /api/dashboards/medassist-logs"] = (200, '{"warnings":[{"type":"dropped_panel"}]}')
        self.assert_fails(self.run_script(), "left out a part", "dropped_panel")

    def test_fails_when_the_dashboard_refers_to_nothing(self) -> None:
        self.answers.instead["POST /api/saved_objects/_export"] = (200, '{"missingRefCount":1}')
        self.assert_fails(self.run_script(), "refers to what is not there")

    def test_fails_without_a_fixed_encryption_key(self) -> None:
        self.answers.instead["GET /api/alerting/_health"] = (200, {"has_permanent_encryption_key": False})
        self.assert_fails(self.run_script(), "has_permanent_encryption_key")


if __name__ == "__main__":
    unittest.main()
