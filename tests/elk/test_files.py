"""The configuration files by themselves: each parses, and names in one file exist in the other."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import unittest
from typing import Any, Iterator

import yaml
from recorder import COMPOSE


def read(path: str) -> Any:
    text = (COMPOSE / path).read_text()
    return yaml.safe_load(text) if path.endswith(("yml", "yaml")) else json.loads(text)


def mapped(properties: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in properties.items():
        yield from mapped(field["properties"], f"{prefix}{name}.") if "properties" in field else [prefix + name]


FIELDS = set(mapped(read("elasticsearch/component-template.json")["template"]["mappings"]["properties"])) | {"@timestamp"}
STREAMS = re.search(r"for stream in (.*); do", (COMPOSE / "elasticsearch/setup.sh").read_text()).group(1).split()
# As Docker 28.5 wrote them, for a container with and one without the label. The second text imitates the label.
LABELLED = r'{"log":"fake\n","stream":"stderr","attrs":{"medassist_logs":"json","medassist_service":"api","tag":"medassist-api1-1"},"time":"2026-11-26T00:38:30.375972518Z"}'
IMITATION = r'{"log":"fake \"medassist_logs\":\"json\"\n","stream":"stdout","time":"2026-11-26T00:38:30.660754067Z"}'


class Filebeat(unittest.TestCase):
    def setUp(self) -> None:
        self.config = read("filebeat/filebeat.yml")
        (self.input,) = self.config["filebeat.inputs"]
        self.processors = {name: value for step in self.config["processors"] for name, value in step.items()}

    def test_reads_only_lines_of_labelled_containers(self) -> None:
        first, second = self.input["parsers"]
        (pattern,) = first["include_message.patterns"]
        self.assertEqual(second, {"container": {"stream": "all", "format": "docker"}})
        self.assertTrue(re.search(pattern, LABELLED))
        self.assertTrue(re.search(pattern, LABELLED.replace("json", "text")))
        self.assertFalse(re.search(pattern, LABELLED.replace("json", "none")))
        self.assertFalse(re.search(pattern, IMITATION))

    def test_reads_rotated_files_but_no_other(self) -> None:
        (glob,) = self.input["paths"]
        folder = "/var/lib/docker/containers/0f/0f"
        for name, wanted in (("-json.log", True), ("-json.log.1", True), ("/config.v2.json", False)):
            self.assertEqual(fnmatch.fnmatch(folder + name, glob), wanted, name)
        self.assertFalse(fnmatch.fnmatch("/var/lib/docker/containers/0f/local-logs/container.log", glob))

    def test_reads_a_removed_file_to_its_end_and_forgets_it_later(self) -> None:
        self.assertIs(self.input["close.on_state_change.removed"], False)
        self.assertIs(self.input["clean_removed"], False)
        hours = {name: int(self.input[name].removesuffix("h")) for name in ("ignore_older", "clean_inactive")}
        self.assertGreater(hours["clean_inactive"], hours["ignore_older"])

    def test_decodes_json_of_our_programs_only(self) -> None:
        decode = self.processors["decode_json_fields"]
        label, shape = decode["when.and"]
        self.assertEqual(label, {"equals": {"docker.attrs.medassist_logs": "json"}})
        self.assertTrue(re.search(shape["regexp"]["message"], '{"timestamp":"'))
        self.assertFalse(re.search(shape["regexp"]["message"], "thread 'main' panicked at {"))
        self.assertEqual((decode["fields"], decode["target"], decode["overwrite_keys"]), (["message"], "", True))
        order = [name for step in self.config["processors"] for name in step]
        self.assertEqual(order, ["decode_json_fields", "timestamp", "copy_fields", "drop_fields"])

    def test_drops_no_field_that_is_mapped(self) -> None:
        for dropped in self.processors["drop_fields"]["fields"]:
            self.assertFalse([field for field in FIELDS if field == dropped or field.startswith(dropped + ".")], dropped)

    def test_writes_only_into_streams_that_exist_and_that_it_may_write(self) -> None:
        output = self.config["output.elasticsearch"]
        targets = {output["index"], *(rule["index"] for rule in output["indices"])}
        self.assertEqual(targets, set(STREAMS))
        (role,) = read(f"elasticsearch/roles/{output['username']}.json")["indices"]
        self.assertEqual(set(role["privileges"]), {"create_doc", "auto_configure"})
        for stream in STREAMS:
            self.assertTrue(fnmatch.fnmatch(stream, role["names"][0]), stream)
        self.assertIs(self.config["setup.template.enabled"], False)
        self.assertIs(self.config["setup.ilm.enabled"], False)

    def test_holds_no_password(self) -> None:
        self.assertEqual(self.config["output.elasticsearch"]["password"], "${FILEBEAT_PASSWORD}")


class Elasticsearch(unittest.TestCase):
    def test_the_template_covers_the_streams_and_comes_before_the_built_in_one(self) -> None:
        template = read("elasticsearch/index-template.json")
        for stream in STREAMS:
            self.assertTrue(fnmatch.fnmatch(stream, template["index_patterns"][0]), stream)
        self.assertGreater(template["priority"], 100)
        self.assertIn("logs-medassist@custom", template["composed_of"])
        # Without it the built-in policy overrules the retention, and nothing is ever deleted.
        self.assertIs(template["template"]["settings"]["index.lifecycle.prefer_ilm"], False)
        self.assertEqual(template["template"]["lifecycle"], read("elasticsearch/lifecycle.json"))
        self.assertEqual(template["template"]["data_stream_options"], read("elasticsearch/options.json"))

    def test_every_file_is_sent(self) -> None:
        script = (COMPOSE / "elasticsearch/setup.sh").read_text()
        for file in (COMPOSE / "elasticsearch").rglob("*.json"):
            sent = f"user {file.stem} " in script if file.parent.name == "roles" else f"/{file.name}" in script
            self.assertTrue(sent, file.name)


class Kibana(unittest.TestCase):
    def setUp(self) -> None:
        self.dashboard = read("kibana/dashboard.json")
        self.rule = read("kibana/rule.json")

    def test_the_panels_fill_the_grid_without_overlap(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in self.dashboard["panels"]:
            grid = panel["grid"]
            self.assertLessEqual(grid["x"] + grid["w"], 48, panel["id"])
            cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
            self.assertFalse(taken & cells, panel["id"])
            taken |= cells
        self.assertGreaterEqual(len(self.dashboard["panels"]), 6)
        height = max(y for _, y in taken) + 1
        self.assertEqual(len(taken), 48 * height, "there is a hole between the panels")

    def test_the_panels_use_only_mapped_fields_and_the_data_view(self) -> None:
        view = read("kibana/data-view.json")["data_view"]["id"]
        self.assertEqual(read("kibana/default-data-view.json")["data_view_id"], view)
        used: set[str] = set()

        def walk(node: Any) -> None:
            if isinstance(node, list):
                for child in node:
                    walk(child)
            elif isinstance(node, dict):
                used.update(node.get("fields", []), node.get("column_order", []))
                if node.get("type") == "data_view_reference":
                    self.assertEqual(node["ref_id"], view)
                if node.get("type") == "esql":
                    used.update(re.findall(r"(?:AND|WHERE|BY|, )\s+([a-z_]+)(?= |$|,)", node["query"]))
                for child in node.values():
                    walk(child)

        walk(self.dashboard)
        self.assertLessEqual(used, FIELDS)
        self.assertLessEqual({"endpoint", "status", "duration_ms", "trace_id", "stream", "container.name", "log.file.path"}, used)

    def test_a_time_axis_is_a_time_axis(self) -> None:
        """Without `temporal` Kibana draws the time as unsorted text; the column is the whole expression."""
        for panel in self.dashboard["panels"]:
            for layer in panel["config"].get("layers", []):
                column = layer["x"].get("column", "")
                if column.startswith("BUCKET("):
                    self.assertEqual(panel["config"]["axis"]["x"]["scale"], "temporal", panel["id"])
                    self.assertIn(f"BY {column}", layer["data_source"]["query"])

    def test_the_rule_counts_in_a_sliding_window_and_uses_what_exists(self) -> None:
        params = self.rule["params"]
        query = json.loads(params["esQuery"])
        self.assertEqual(set(query["query"]["range"]), {"status"})
        self.assertTrue(all(any(fnmatch.fnmatch(stream, index) for stream in STREAMS) for index in params["index"]))
        # With true, hits of the last run do not count again: the alert would recover while the errors go on.
        self.assertIs(params["excludeHitsFromPreviousRun"], False)
        connectors = read("kibana/kibana.yml")["xpack.actions.preconfigured"]
        self.assertLessEqual({action["id"] for action in self.rule["actions"]}, set(connectors))
        # What the basic licence has.
        self.assertLessEqual({connector["actionTypeId"] for connector in connectors.values()}, {".server-log", ".index"})
        alert = read("kibana/alert.json")[0]
        self.assertIn(f"more than {params['threshold'][0]} ", alert["annotations"]["summary"])
        self.assertIn(f"within {params['timeWindowSize']} min", alert["annotations"]["summary"])

    def test_the_configuration_listens_for_others_and_holds_no_secret(self) -> None:
        config = read("kibana/kibana.yml")
        self.assertEqual(config["server.host"], "0.0.0.0")
        self.assertEqual(config["elasticsearch.username"], "kibana_system")
        for name, value in config.items():
            if name.endswith(("password", "encryptionKey")):
                self.assertRegex(value, r"^\$\{[A-Z_]+\}$", name)


class Jaeger(unittest.TestCase):
    def test_every_component_that_is_used_is_defined_and_the_other_way_round(self) -> None:
        config = read("jaeger/jaeger.yaml")
        (pipeline,) = config["service"]["pipelines"].values()
        for kind in ("receivers", "processors", "exporters"):
            self.assertEqual(set(pipeline[kind]), set(config[kind]), kind)
        self.assertEqual(set(config["service"]["extensions"]), set(config["extensions"]))
        backends = config["extensions"]["jaeger_storage"]["backends"]
        self.assertIn(config["exporters"]["jaeger_storage_exporter"]["trace_storage"], backends)
        self.assertIn(config["extensions"]["jaeger_query"]["storage"]["traces"], backends)

    def test_it_listens_for_other_containers_and_its_memory_is_bounded(self) -> None:
        config = read("jaeger/jaeger.yaml")
        endpoints = re.findall(r'endpoint: "([^"]+):(\d+)"', (COMPOSE / "jaeger/jaeger.yaml").read_text())
        self.assertEqual({host for host, _ in endpoints}, {"0.0.0.0"})
        self.assertLessEqual({"4317", "4318", "13133", "16686"}, {port for _, port in endpoints})
        self.assertGreater(config["extensions"]["jaeger_storage"]["backends"]["memory"]["memory"]["max_traces"], 0)
        (pipeline,) = config["service"]["pipelines"].values()
        self.assertEqual(pipeline["processors"][0], "memory_limiter")


class Scripts(unittest.TestCase):
    def test_bash_parses_them(self) -> None:
        scripts = [file for folder in ("elasticsearch", "kibana") for file in (COMPOSE / folder).glob("*.sh")]
        self.assertGreaterEqual(len(scripts), 4)
        for script in scripts:
            self.assertEqual(subprocess.run(["bash", "-n", script], capture_output=True).stderr, b"", script)
            self.assertNotIn(b"\r", script.read_bytes(), script)

    def test_they_use_only_what_the_elasticsearch_image_has(self) -> None:
        for folder in ("elasticsearch", "kibana"):
            for script in (COMPOSE / folder).glob("*.sh"):
                code = "\n".join(line for line in script.read_text().splitlines() if not line.lstrip().startswith("#"))
                self.assertNotRegex(code, r"(^|[|;&( ])(jq|python3?|perl|awk|wget|find|xargs|hostname)( |$)", script)


if __name__ == "__main__":
    unittest.main()
