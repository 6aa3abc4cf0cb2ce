"""Starts the core of compose/ from nothing and checks it; one line a check.
usage: checks.py WORK_DIRECTORY (called by `run`)"""

import http.client
import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

from browser import Browser
from common import (
    COMPOSE,
    GIB,
    NOT_STARTED,
    PATIENTS,
    PROJECT,
    PROMETHEUS,
    REPOSITORY,
    ROOT,
    SECRETS,
    WRITABLE,
    all_up,
    attempt,
    check,
    compose,
    container,
    failed,
    get,
    inspect,
    logs,
    name_of,
    passed,
    query,
    run,
    servers,
    until,
)
from files import files_and_pins
from load import Load


def placeholders_can_read(services):
    """Services whose programs can't be had: their containers start with all that compose.yaml gives them, and a shell as
    their user."""
    print("services without a stand-in:")
    for name, service in services.items():
        bind = [
            m["target"]
            for m in service.get("volumes", [])
            if m["type"] == "bind" and REPOSITORY in Path(m["source"]).parents
        ]
        secrets = [f"/run/secrets/{secret['source']}" for secret in service.get("secrets", [])]
        # Everything is readable, each tmpfs is writable, and the root is as it is said to be.
        tmpfs = [mount.split(":")[0] for mount in service.get("tmpfs", [])]
        root = "" if name in WRITABLE else "! touch /x 2>/dev/null"
        mounts = " ".join(bind + secrets) or "/dev/null"
        script = f"find {mounts} ! -readable; for d in {' '.join(tmpfs)}; do touch $d/x || exit 1; done; {root}"
        done = run(
            "docker",
            "compose",
            "--profile",
            "*",
            "run",
            "--rm",
            "--no-deps",
            "--quiet-pull",
            "--entrypoint",
            "sh",
            name,
            "-c",
            script,
            cwd=COMPOSE,
            fails=True,
        )
        check(
            done.returncode == 0 and not done.stdout.strip(),
            f"{name} starts and can read {len(bind + secrets)} mounts",
            done.stdout + done.stderr[-500:],
        )


# ---- The start -------------------------------------------------------------------------------------------------------


def start(core):
    print("start:")
    begun = time.monotonic()
    done = run("./stack.sh", "up", *core, cwd=COMPOSE, fails=True)
    check(
        done.returncode == 0,
        f"the core comes up from nothing: {time.monotonic() - begun:.0f} s",
        done.stdout[-1500:] + done.stderr[-1500:],
    )
    if done.returncode:
        print(compose("logs", "--tail=20"))
        return False
    check(run("./stack.sh", "status", cwd=COMPOSE, fails=True).returncode == 0, "stack.sh status agrees")
    return True


def containers_are_hardened(core):
    print("containers:")
    root, writable, unhealthy = [], [], []
    for name in core:
        state = inspect(container(name))[0]
        if state["State"].get("Health", {}).get("Status", "healthy") != "healthy" or not state["State"]["Running"]:
            unhealthy.append(name)
        # Of every process, not of the configuration: an entrypoint may change users.
        users = {
            line.split()[0] for line in run("docker", "top", name_of(name), "-eo", "uid,pid").stdout.splitlines()[1:]
        }
        if "0" in users and name not in ROOT:
            root.append(name)
        if not state["HostConfig"]["ReadonlyRootfs"] and name not in WRITABLE:
            writable.append(name)
    check(not unhealthy, "every healthcheck is healthy", ", ".join(unhealthy))
    check(not root, "no process runs as root, but in the listed", ", ".join(root))
    check(not writable, "no root file system is writable, but the listed", ", ".join(writable))
    for service, command in {
        "prometheus": ["promtool", "check", "config", "/etc/prometheus/prometheus.yml"],
        "alertmanager": ["amtool", "check-config", "/etc/alertmanager/alertmanager.yml"],
        "haproxy": [
            "haproxy",
            "-c",
            "-f",
            "/usr/local/etc/haproxy/haproxy.cfg",
            "-f",
            "/usr/local/etc/haproxy/exporter.cfg",
        ],
    }.items():
        done = run("docker", "exec", name_of(service), *command, fails=True)
        check(
            done.returncode == 0, f"{service} finds its configuration good, as its own user", done.stdout + done.stderr
        )
    ours = [
        s
        for s in core
        if s.startswith(
            ("api", "mysql-exporter", "redis-exporter", "haproxy-exporter", "nginx-exporter", "backup-exporter")
        )
    ]
    sizes = {s: inspect(inspect(container(s))[0]["Image"])[0]["Size"] / 1e6 for s in ours}
    check(max(sizes.values()) <= 15, f"our images have 15 MB at most: {max(sizes.values()):.1f}", str(sizes))
    labels = inspect(inspect(container("api1"))[0]["Image"])[0]["Config"]["Labels"]
    check(
        labels.get("org.opencontainers.image.version") and labels.get("org.opencontainers.image.revision"),
        "our images say what they are",
    )


def targets_are_up():
    print("observability:")

    def down():
        targets = json.loads(get(f"{PROMETHEUS}/api/v1/targets?state=active"))["data"]["activeTargets"]
        return {t["labels"]["instance"]: t["lastError"] for t in targets if t["health"] != "up"}, len(targets)

    until(45, lambda: set(down()[0]) <= NOT_STARTED)
    missing, count = down()
    check(
        set(missing) <= NOT_STARTED and count - len(missing) >= 12,
        f"every target of Prometheus is up: {count - len(missing)}, without {', '.join(NOT_STARTED)}",
        str(missing),
    )
    flags = json.loads(get(f"{PROMETHEUS}/api/v1/status/flags"))["data"]
    check(
        flags["storage.tsdb.retention.time"] == "40d" and "exemplar-storage" in flags["enable-feature"],
        "Prometheus keeps 40 days, and exemplars",
    )
    labels = json.loads(get(f"{PROMETHEUS}/api/v1/status/config"))["data"]["yaml"]
    check(f"links: http://127.0.0.1:{os.environ['LINKS_PORT']}" in labels, "Prometheus has the address of the links", labels[:300])
    for what, expression in {
        "the five exporters read their services": (
            "mysql_up + on() redis_up + on() haproxy_up + on() nginx_up + on() backup_up == 5"
        ),
        "all three replicas are in service": 'haproxy_backend_active_servers{proxy="be_api"} == 3',
        "a complete backup is there": 'backup_complete_files{backup="mysql"} >= 1',
        "the backup job reached the Pushgateway": "mysql_backup_status == 1",
        "HAProxy's process is measured": "haproxy_process_uptime_seconds > 0",
    }.items():
        check(until(40, lambda: query(expression)), what, expression)

    alert = [
        {
            "labels": {"alertname": "ComposeTest", "severity": "p1", "service": "test"},
            "annotations": {"summary": "s", "description": "d"},
        }
    ]
    alertmanager = f"http://127.0.0.1:{os.environ['ALERTMANAGER_PORT']}/api/v2/alerts"
    get(alertmanager, data=json.dumps(alert).encode(), headers={"Content-Type": "application/json"})
    received = until(
        30,
        lambda: "ComposeTest"
        in run("docker", "exec", name_of("nginx"), "wget", "-q", "-O", "-", "http://haproxy:8080/api/alerts").stdout,
    )
    check(received, "an alert reaches the API through Alertmanager's webhook")


# ---- What a patient does ---------------------------------------------------------------------------------------------


def pay_in_a_browser(pictures):
    print("a patient:")
    with Browser() as browser:
        browser.open(f"{PATIENTS}/")
        state = browser.wait_for("document.getElementById('status').dataset.state")
        check(state == "good", "the page shows that all services are up", state)
        browser.screenshot(pictures / "booking.png")
        # By keyboard alone: the second specialty, then on to the button.
        browser.evaluate("document.querySelector('input[name=specialty]').focus()")
        browser.press("ArrowDown")
        for _ in range(10):
            if browser.evaluate("document.activeElement.id") == "pay":
                break
            browser.press("Tab")
        browser.press("Enter", text="\r")
        receipt = browser.wait_for(
            "!document.getElementById('receipt').hidden && document.getElementById('receipt-id').textContent"
        )
        amount = browser.evaluate("document.getElementById('receipt-amount').textContent")
        focus = browser.evaluate("document.activeElement.id")
        browser.screenshot(pictures / "receipt.png")
        check(amount == "€69.00", "a payment by keyboard leads to its receipt", amount)
        check(focus == "receipt-title", "the receipt has the focus, so that it is read out", focus)
        payment = json.loads(get(f"{PATIENTS}/api/payment/{receipt}"))
        check(payment["amount_cents"] == 6900, "the receipt's payment is in the database", str(payment))
        browser.open(f"{PATIENTS}/?receipt={receipt}")
        browser.wait_for("!document.getElementById('receipt').hidden")
        check(True, "the receipt has an address of its own")
        check(not browser.complaints, "the browser's console has no error", "; ".join(browser.complaints))
    return receipt


def front_door():
    print("nginx:")
    with urllib.request.urlopen(f"{PATIENTS}/", timeout=10) as response:
        headers = response.headers
    wanted = (
        "Content-Security-Policy",
        "X-Content-Type-Options",
        "Referrer-Policy",
        "X-Frame-Options",
        "Permissions-Policy",
    )
    check(all(headers.get(name) for name in wanted), "security headers are there")
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PATIENTS_PORT"]), timeout=10)
    for path in ("/api/alerts", "/api/webhook/alert", "/metrics", "/stub_status", "/../environment/http.conf"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        check(response.status in (400, 404), f"{path} is not published", str(response.status))
    links = http.client.HTTPConnection("127.0.0.1", int(os.environ["LINKS_PORT"]), timeout=10)
    links.request("GET", "/runbooks/AllApiDown.md")
    response = links.getresponse()
    opens = response.read().startswith(b"# AllApiDown") and response.headers["Content-Type"] == "text/plain; charset=utf-8"
    check(opens, "the link of an alert opens its runbook", str(response.headers))
    links.request("GET", "/d/medassist-overview")
    response = links.getresponse()
    response.read()
    target = f"http://127.0.0.1:{os.environ['GRAFANA_PORT']}/d/medassist-overview"
    check(response.headers["Location"] == target, "the link of an alert leads to Grafana's dashboard", str(response.headers))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = json.dumps({"consultation_id": "c-trace", "amount_cents": 100, "currency": "EUR"}).encode()
    get(
        f"{PATIENTS}/api/payment",
        data=body,
        headers={"Idempotency-Key": f"trace-{time.time()}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    lines = until(5, lambda: [line for line in logs("nginx").splitlines() if trace in line and "/api/payment" in line])
    try:
        entry = json.loads(lines[-1])
        good = entry["status"] == 201 and isinstance(entry["duration_ms"], int) and entry["trace_id"] == trace
    except (ValueError, KeyError, IndexError):
        good = False
    check(good, "nginx logs JSON with the trace", str(lines[-1:]))
    check(any(trace in logs(api) for api in ("api1", "api2", "api3")), "the same trace is in the API's log")


def logs_are_json(services):
    """What Filebeat takes for JSON (its label says so) is JSON, with the fields that it and the dashboards read."""
    print("logs:")
    for name, service in services.items():
        if service.get("labels", {}).get("medassist_logs") != "json":
            continue
        # A panic or a message of nginx itself is text, and may be.
        lines = [line for line in logs(name).splitlines() if line.startswith("{")]
        bad = [
            line for line in lines if not attempt(lambda: {"timestamp", "level", "message"} <= json.loads(line).keys())
        ]
        check(lines and not bad, f"{name} logs JSON with time, level and message: {len(lines)} lines", str(bad[:2]))


# Made from secrets and settings: no secrets themselves.
DERIVED = ("redis_users", "alertmanager.yml")


def no_secret_shows(core):
    print("secrets:")
    files = [path for path in SECRETS.iterdir() if path.is_file() and path.name not in DERIVED]
    secrets = {path.name: path.read_text().strip() for path in files}
    check(len(secrets) >= 10 and min(map(len, secrets.values())) >= 32, f"{len(secrets)} secrets were generated")
    check(SECRETS.stat().st_mode & 0o777 == 0o700, "only their owner can enter the secrets' directory")
    everything = run("docker", "inspect", *[container(name) for name in core]).stdout
    images = run(
        "docker", "image", "inspect", *{image for image in compose("config", "--images", *core).split()}
    ).stdout
    logged = {name: logs(name) for name in core}
    processes = {name: run("docker", "top", name_of(name), "-eo", "pid,args").stdout for name in core}
    shown = []
    for secret, value in secrets.items():
        if value in everything or value in images:
            shown.append(f"{secret} in docker inspect")
        shown += [f"{secret} in the log of {name}" for name, text in logged.items() if value in text]
        shown += [f"{secret} in the arguments of {name}" for name, text in processes.items() if value in text]
    check(not shown, "no secret is in docker inspect, a log or a process's arguments", ", ".join(shown))


# ---- Faults ----------------------------------------------------------------------------------------------------------


def under_load(what, fault, seconds, spare=0):
    """No request fails; with `spare`, none later than so many seconds after the fault."""
    with Load("127.0.0.1", int(os.environ["PATIENTS_PORT"])) as load:
        time.sleep(2)
        fault()
        at = load.elapsed()
        time.sleep(seconds)
    bad = load.failed_after(at + spare) if spare else load.failures
    check(load.durations and not bad, f"{what}: {load.summary()}", str(bad[:3]))


def faults():
    print("faults:")
    compose_all_up = lambda: until(30, all_up)
    under_load("api2 is killed", lambda: run("docker", "kill", name_of("api2")), 6)
    status = run("./stack.sh", "status", cwd=COMPOSE, fails=True)
    check(
        status.returncode != 0 and "api2 exited" in status.stderr, "stack.sh status fails and names api2", status.stderr
    )
    run("docker", "start", name_of("api2"))
    check(compose_all_up(), "api2 is back in service")

    under_load("api2 hangs", lambda: run("docker", "pause", name_of("api2")), 10)
    run("docker", "unpause", name_of("api2"))
    check(compose_all_up(), "api2 is back in service after the hang")

    wrong = Path(sys.argv[1]) / "wrong-password.yaml"
    wrong.write_text(
        "services: {api2: {environment: {MEDASSIST_API_MYSQL_PASSWORD_FILE: /run/secrets/webhook_token}}}\n"
    )
    files = os.environ["COMPOSE_FILE"]
    up = ["docker", "compose", "up", "--detach", "--no-deps", "--no-build", "api2"]
    under_load(
        "api2 has a wrong database password, after 3 s",
        lambda: run(*up, cwd=COMPOSE, env={**os.environ, "COMPOSE_FILE": f"{files}:{wrong}"}),
        10,
        spare=3,
    )
    run(*up, cwd=COMPOSE)
    check(compose_all_up(), "api2 is back in service with its password")

    address = lambda: inspect(container("api2"))[0]["NetworkSettings"]["Networks"][f"{PROJECT}_medassist"]["IPAddress"]
    before = address()
    compose("rm", "--stop", "--force", "api2")
    # The engine gives it the address that is free now: api2's.
    run(
        "docker",
        "run",
        "--detach",
        "--name",
        f"{PROJECT}-squatter",
        "--network",
        f"{PROJECT}_medassist",
        "medassist-test/debian",
        "sleep",
        "600",
    )
    run(*up, cwd=COMPOSE)
    after = address()
    check(after != before, f"api2 is recreated with another address: {before}, then {after}")
    check(compose_all_up(), "HAProxy finds api2 at its new address")
    sessions = servers()["api2"][1]
    under_load("all replicas serve", lambda: None, 2)
    check(servers()["api2"][1] > sessions, "api2 gets requests at its new address")
    run("docker", "rm", "--force", f"{PROJECT}-squatter")


def data_stays(core, receipt):
    print("restart:")
    backups = query('max(backup_complete_files{backup="mysql"})')
    run("./stack.sh", "down", cwd=COMPOSE)
    check(not compose("ps", "--all", "--quiet").strip(), "down leaves no container")
    begun = time.monotonic()
    done = run("./stack.sh", "up", *core, cwd=COMPOSE, fails=True)
    check(done.returncode == 0, f"up again: {time.monotonic() - begun:.0f} s", done.stderr[-1500:])
    payment = until(10, lambda: attempt(lambda: json.loads(get(f"{PATIENTS}/api/payment/{receipt}"))))
    check(payment and payment["id"] == receipt, "the payment is still there")
    history = until(
        30,
        lambda: query(
            "count_over_time(prometheus_build_info[10m]) > 3"
            " and on() time() - process_start_time_seconds{job='prometheus'} < 60"
        ),
    )
    check(history, "Prometheus still has what it had")
    check(
        until(
            30,
            lambda: query('max(backup_complete_files{backup="mysql"})')
            and max(query('max(backup_complete_files{backup="mysql"})').values()) >= max(backups.values()),
        ),
        "the backups are still there",
    )


def dashboards_find_data():
    print("dashboards:")
    # Rules of a minute's interval read each other, so the budgets appear up to two minutes after Prometheus' start.
    budget = 'slo:period_error_budget_remaining:ratio{sloth_id="api-availability"}'
    check(until(240, lambda: query(budget)), f"Prometheus has recorded the error budgets ({budget})")
    done = run(str(REPOSITORY / "grafana/check"), "--live", PROMETHEUS, fails=True)
    summary = next((line for line in done.stdout.splitlines() if "queries sent" in line), "")
    check(done.returncode == 0, f"every query returns data, or has a declared reason: {summary}", done.stdout + done.stderr)


def memory_fits(core):
    print("memory:")
    unit = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": GIB}
    rows = run(
        "docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *map(name_of, core)
    ).stdout.split("\n")
    used = {}
    for row in filter(None, rows):
        name, amount = row.split()[:2]
        number, suffix = re.fullmatch(r"([\d.]+)(\w+)", amount).groups()
        used[name] = float(number) * unit[suffix]
    for name, amount in sorted(used.items(), key=lambda item: -item[1])[:4]:
        print(f"          {name}: {amount / 1024**2:.0f} MiB")
    # What was not started could take up to its limit.
    services = json.loads(compose("config", "--format", "json"))["services"]
    absent = sum(int(services[name]["mem_limit"]) for name in NOT_STARTED)
    total = sum(used.values()) + absent
    check(
        total <= 2 * GIB,
        f"the core takes {total / GIB:.2f} GiB, of which {absent / GIB:.2f} are limits of what was not started",
    )


def main():
    pictures = Path(sys.argv[1]) / "pictures"
    pictures.mkdir(exist_ok=True)
    services = files_and_pins()
    core = [name for name, service in services.items() if not service.get("profiles") and name not in NOT_STARTED]
    if start(core):
        placeholders_can_read({name: service for name, service in services.items() if name not in core})
        containers_are_hardened(core)
        targets_are_up()
        receipt = pay_in_a_browser(pictures)
        front_door()
        faults()
        memory_fits(core)
        logs_are_json({name: services[name] for name in core})
        no_secret_shows(core)
        data_stays(core, receipt)
        dashboards_find_data()
        print(f"  pictures of the patients' page: {pictures}")
    for what in failed:
        print(f"FAILED: {what}")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
