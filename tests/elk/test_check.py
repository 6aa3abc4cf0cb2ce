"""compose/check: what it takes for healthy, and the line that it prints for each thing that is not."""

from __future__ import annotations

import json
import subprocess
import unittest
from typing import Any

from recorder import COMPOSE, PASSWORDS, Answer, Recorder, Request, Sandbox
from test_forward_alerts import free_port

LINE = {"@timestamp": "2026-11-26T00:21:40.123Z", "endpoint": "/api/payment", "method": "POST", "status": 201, "duration_ms": 3.25,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "level": "INFO", "service": "api", "instance": "api1", "message": "request"}
PANELS = [{"type": "vis"}] * len(json.loads((COMPOSE / "kibana/dashboard.json").read_text())["panels"])
STREAM = "logs-medassist.api-default"
# One server plays all of them: their paths are different.
HEALTHY: dict[str, Any] = {
    "/api/health": {"database": "ok", "version": "13.2.3"},
    "/api/datasources/uid/prometheus/health": {"status": "OK", "message": "Successfully queried the Prometheus API."},
    "/api/datasources/uid/elasticsearch/health": {"status": "OK"},
    "/api/datasources/uid/jaeger/health": {"status": "OK"},
    "/api/datasources/proxy/uid/alertmanager/api/v2/status": {"versionInfo": {"version": "0.34.0"}},
    "/api/dashboards/uid/medassist-red": {"meta": {"provisioned": True}, "dashboard": {"panels": [{}]}},
    "/_cluster/health": {"status": "green"},
    "/_license": {"license": {"type": "basic"}},
    f"/_data_stream/{STREAM}": {"data_streams": [
        {"lifecycle": {"data_retention": "7d"}, "indices": [{"managed_by": "Data stream lifecycle"}]}]},
    f"/{STREAM}/_search": {"hits": {"hits": [{"_source": LINE}]}},
    f"/{STREAM}/_field_caps": {"fields": {name: {"keyword": {}} for name in LINE}},
    f"/{STREAM}::failures/_search": {"hits": {"hits": [], "total": {"value": 0}}},
    "/logs-medassist.containers-default::failures/_search": {"hits": {"hits": [], "total": {"value": 0}}},
    "/api/status": {"status": {"overall": {"level": "available"}}},
    "/api/data_views/data_view/medassist-logs": {"data_view": {"name": "Filebeat Logs", "fields": {name: {} for name in LINE}}},
    "/api/dashboards/medassist-logs": {"data": {"title": "MedAssist logs", "panels": PANELS}},
    "/_query": {"columns": [], "values": []},
    "/api/alerting/rule/medassist-5xx": {"enabled": True, "execution_status": {"status": "ok"}},
    "/": {"beat": "filebeat", "version": "9.5.3"},
    "/stats": {"libbeat": {"output": {"events": {"acked": 42, "dropped": 0, "failure_store": 0}}}},
    "/api/services": {"data": ["jaeger", "medassist-api"]},
    "/api/traces": {"data": [{"traceID": LINE["trace_id"]}]},
    "/healthz": "ok",
    "/metrics": 'container_last_seen{id="/",name=""} 1\ncontainer_last_seen{id="/docker/1",name="medassist-api1-1"} 1\n',
}
PARTS = ["grafana", "elasticsearch", "kibana", "filebeat", "jaeger", "cadvisor"]


class Check(unittest.TestCase):
    def setUp(self) -> None:
        self.instead: dict[str, Answer] = {}
        self.recorder = Recorder(self.answer)
        self.addCleanup(self.recorder.close)
        self.sandbox = Sandbox()
        self.addCleanup(self.sandbox.close)
        dashboards = self.sandbox.folder / "dashboards"
        dashboards.mkdir()
        (dashboards / "red.json").write_text('{"uid": "medassist-red"}')

    def answer(self, request: Request) -> Answer:
        path = request.path.split("?")[0]
        if path in self.instead:
            return self.instead[path]
        return (200, HEALTHY[path]) if path in HEALTHY else (404, "not found")

    def check(self, *parts: str, **addresses: str) -> "subprocess.CompletedProcess[str]":
        options = [f"--{part}={addresses.get(part, self.recorder.url)}" for part in PARTS]
        options += [f"--secrets={self.sandbox.secrets}", f"--dashboards={self.sandbox.folder / 'dashboards'}",
                    f"--grafana-password-file={self.sandbox.secrets / 'grafana_admin'}"]
        done = self.sandbox.run("/usr/bin/python3", str(COMPOSE / "check"), *options, *parts)
        self.assertEqual(self.sandbox.leaks(done), [])
        return done

    def test_passes_when_everything_is_well(self) -> None:
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("FAILED", done.stdout)
        self.assertIn("elasticsearch: a line of the API: POST /api/payment 201 of api1", done.stdout)
        self.assertIn(f"jaeger: traces: trace {LINE['trace_id']} of medassist-api", done.stdout)
        self.assertIn("cadvisor: containers: 1 containers", done.stdout)
        self.assertTrue(done.stdout.endswith("all checks passed\n"))

    def test_logs_in_with_the_password_of_each_service(self) -> None:
        self.check()
        logins = {request.path.split("?")[0]: request.login for request in self.recorder.requests}
        self.assertEqual(logins["/api/health"], ("admin", PASSWORDS["grafana_admin"]))
        self.assertEqual(logins["/_cluster/health"], ("elastic", PASSWORDS["elastic_password"]))
        self.assertEqual(logins["/api/status"], ("elastic", PASSWORDS["elastic_password"]))
        self.assertEqual({logins["/stats"], logins["/api/services"], logins["/metrics"]}, {None})

    def test_sends_every_query_of_kibanas_dashboard(self) -> None:
        self.check("kibana")
        sent = [request.json()["query"] for request in self.recorder.requests if request.path.startswith("/_query")]
        text = (COMPOSE / "kibana/dashboard.json").read_text()
        self.assertEqual(len(sent), text.count('"type": "esql"'))
        self.assertTrue(all(query.startswith("FROM logs-medassist.api-*") for query in sent), sent)

    def test_prints_one_line_for_each_thing_that_is_not_well(self) -> None:
        stream = HEALTHY[f"/_data_stream/{STREAM}"]["data_streams"][0]
        text = {**LINE, "status": "201"}
        cases: list[tuple[str, str, Any, str]] = [
            ("grafana: health", "/api/health", {"database": "failing"}, "database is failing"),
            ("grafana: data source elasticsearch", "/api/datasources/uid/elasticsearch/health",
             {"status": "ERROR", "message": "401"}, "401"),
            ("grafana: data source alertmanager", "/api/datasources/proxy/uid/alertmanager/api/v2/status", "<html>", "JSON"),
            ("grafana: dashboards", "/api/dashboards/uid/medassist-red",
             {"meta": {"provisioned": True}, "dashboard": {"panels": []}}, "medassist-red has no panels"),
            ("elasticsearch: health", "/_cluster/health", {"status": "red"}, "the cluster is red"),
            ("elasticsearch: health", "/_license", {"license": {"type": "trial"}}, "the licence is trial"),
            ("elasticsearch: data stream", f"/_data_stream/{STREAM}", {"data_streams": [{**stream, "lifecycle": {}}]}, "no retention"),
            ("elasticsearch: data stream", f"/_data_stream/{STREAM}",
             {"data_streams": [{**stream, "indices": [{"managed_by": "Index Lifecycle Management"}]}]}, "not in force"),
            ("elasticsearch: a line of the API", f"/{STREAM}/_search", {"hits": {"hits": []}}, "no request of the API"),
            ("elasticsearch: a line of the API", f"/{STREAM}/_search", {"hits": {"hits": [{"_source": text}]}}, "no native status"),
            ("elasticsearch: field types", f"/{STREAM}/_field_caps", {"fields": {}}, "endpoint"),
            ("elasticsearch: rejected lines", f"/{STREAM}::failures/_search",
             {"hits": {"total": {"value": 7}, "hits": [{"_source": {"error": {"message": "mapper conflict"}}}]}}, "7 lines"),
            ("kibana: status", "/api/status", {"status": {"overall": {"level": "degraded"}}}, "Kibana is degraded"),
            ("kibana: data view", "/api/data_views/data_view/medassist-logs", {"data_view": {"name": "x", "fields": {}}}, "endpoint"),
            ("kibana: dashboard", "/api/dashboards/medassist-logs", {"data": {"title": "x", "panels": PANELS[1:]}}, "panels, not"),
            ("kibana: alert rule", "/api/alerting/rule/medassist-5xx", {"enabled": False}, "not enabled"),
            ("kibana: alert rule", "/api/alerting/rule/medassist-5xx",
             {"enabled": True, "execution_status": {"status": "error", "error": {"message": "decrypt"}}}, "decrypt"),
            ("filebeat: delivery", "/stats", {"libbeat": {"output": {"events": {"acked": 0}}}}, "no line yet"),
            ("filebeat: delivery", "/stats", {"libbeat": {"output": {"events": {"acked": 9, "dropped": 2}}}}, "'dropped': 2"),
            ("cadvisor: up", "/healthz", "no", "does not answer ok"),
        ]
        for name, path, answer, reason in cases:
            with self.subTest(name=name, reason=reason):
                self.instead = {path: (200, answer)}
                self.assert_one_failure(self.check(name.split(":")[0], *(["elasticsearch"] if "source" in name else [])), name, reason)

    def assert_one_failure(self, done: "subprocess.CompletedProcess[str]", name: str, reason: str) -> None:
        failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        self.assertEqual(len(failures), 1, done.stdout + done.stderr)
        self.assertTrue(failures[0].startswith(f"FAILED  {name}: "), failures)
        self.assertIn(reason, failures[0])
        self.assertEqual((done.returncode, done.stderr), (1, ""))

    def test_says_which_answer_was_refused(self) -> None:
        self.instead = {"/_query": (400, {"error": {"reason": "Unknown column [status]"}})}
        self.assert_one_failure(self.check("kibana"), "kibana: queries of the dashboard", "Unknown column [status]")

    def test_says_which_service_can_not_be_reached(self) -> None:
        address = f"http://127.0.0.1:{free_port()}"
        done = self.check("jaeger", jaeger=address)
        self.assert_one_failure(done, "jaeger: traces", f"{address} can't be reached")

    def test_names_an_answer_that_lacks_what_it_should_hold(self) -> None:
        self.instead = {"/": (200, {}), "/stats": (200, {"libbeat": None})}
        done = self.check("filebeat")
        self.assertEqual((done.returncode, done.stdout.count("FAILED"), done.stderr), (1, 2, ""), done.stdout)

    def test_has_no_spans_and_no_containers_as_good_answers(self) -> None:
        self.instead = {"/api/services": (200, {"data": None}), "/metrics": (200, "machine_cpu_cores 2\n")}
        done = self.check("jaeger", "cadvisor")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("up, no spans yet", done.stdout)
        self.assertIn("no data per container", done.stdout)

    def test_needs_no_data_source_of_a_part_that_is_not_checked(self) -> None:
        self.instead = {f"/api/datasources/uid/{uid}/health": (404, "") for uid in ("elasticsearch", "jaeger")}
        self.assertEqual(self.check("grafana").returncode, 0)

    def test_reaches_what_is_not_published_through_its_container(self) -> None:
        # docker compose --file FILE exec -T SERVICE COMMAND…: here the command runs on this machine.
        self.sandbox.program("docker", '[[ $1 == compose && $2 == --file && $4 == exec && $6 == "$SERVICE" ]] && exec "${@:7}"')
        port = self.recorder.url.rpartition(":")[2]
        address = f"compose:elasticsearch:{port}"
        options = [f"--secrets={self.sandbox.secrets}", f"--elasticsearch={address}"]
        done = self.sandbox.run("/usr/bin/python3", str(COMPOSE / "check"), *options, "elasticsearch", SERVICE="elasticsearch")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(self.sandbox.leaks(done), [])
        search = self.recorder.find(f"POST /{STREAM}/_search")
        self.assertEqual(search.login, ("elastic", PASSWORDS["elastic_password"]))
        self.assertIn("now-1h", json.dumps(search.json()))

        done = self.sandbox.run("/usr/bin/python3", str(COMPOSE / "check"), *options, "elasticsearch", SERVICE="another")
        self.assertEqual(done.returncode, 1)
        self.assertIn("can't be reached inside of the container elasticsearch", done.stdout)

    def test_refuses_a_part_that_does_not_exist(self) -> None:
        done = self.check("prometheus")
        self.assertEqual(done.returncode, 2)
        self.assertIn("unknown part: prometheus", done.stderr)


if __name__ == "__main__":
    unittest.main()
