"""What all checks share: how a result is reported, and how the engine, the stack and its Prometheus are reached."""

import contextlib
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "compose"
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
SECRETS = Path(os.environ["MEDASSIST_SECRETS"])
PATIENTS = f"http://127.0.0.1:{os.environ['PATIENTS_PORT']}"
PROMETHEUS = f"http://127.0.0.1:{os.environ['PROMETHEUS_PORT']}"
# There is no stand-in for these, so they are not started.
NOT_STARTED = {"grafana", "cadvisor"}
# README.md gives the reason for each. Whoever adds one adds it there, too.
ROOT = {"cadvisor", "filebeat"}
WRITABLE = {"cadvisor", "elasticsearch"}
PRIVILEGED = {"cadvisor"}
GIB = 1024**3

failed = []
passed = []


def check(good, what, detail=""):
    if good:
        passed.append(what)
        print(f"  ok      {what}", flush=True)
    else:
        failed.append(what)
        print(f"  FAILED  {what}{': ' if detail else ''}{detail}", flush=True)


def run(*command, fails=False, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode and not fails:
        raise RuntimeError(
            f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done


def compose(*arguments, **options):
    return run("docker", "compose", *arguments, cwd=COMPOSE, **options).stdout


def get(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as response:
        return response.read().decode()


def until(seconds, condition):
    """The condition's last value: once it is true, or when the time is over."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.25)
    return value


def container(service):
    return compose("ps", "--all", "--quiet", service).strip()


def inspect(*containers):
    return json.loads(run("docker", "inspect", *containers).stdout)


def query(expression):
    answer = json.loads(get(f"{PROMETHEUS}/api/v1/query", data=f"query={urllib.parse.quote(expression)}".encode()))
    return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in answer["data"]["result"]}


def servers():
    """HAProxy's view: server -> (status, sessions)."""
    rows = [
        line.split(",") for line in get(f"http://127.0.0.1:{os.environ['HAPROXY_STATS_PORT']}/stats;csv").splitlines()
    ]
    return {row[1]: (row[17], int(row[7])) for row in rows if row[0] == "be_api" and row[1].startswith("api")}


def all_up():
    return all(status == "UP" for status, _ in servers().values())


def attempt(action):
    with contextlib.suppress(OSError, ValueError):
        return action()


def name_of(service):
    return f"{PROJECT}-{service}-1"


def logs(service):
    done = run("docker", "logs", name_of(service))
    return done.stdout + done.stderr
