"""What can be checked without a container: compose.yaml as compose reads it, and the files that it mounts."""

import json
import os
import re
from pathlib import Path

from common import COMPOSE, PRIVILEGED, REPOSITORY, WRITABLE, check, compose


def files_and_pins():
    print("files:")
    document = json.loads(compose("--profile", "*", "config", "--format", "json"))
    services = document["services"]
    check(len(services) >= 20, "compose.yaml is valid with all profiles")

    floating = [
        image
        for image in map(lambda s: s["image"], services.values())
        if not re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?(@sha256:[0-9a-f]{64})?$", image)
    ]
    check(not floating, "every image has an exact version", ", ".join(floating))

    missing, hidden = set(), set()
    for service in services.values():
        for mount in service.get("volumes", []):
            source = Path(mount["source"])
            if mount["type"] != "bind" or REPOSITORY not in source.parents:
                continue
            if not source.exists():
                missing.add(str(source.relative_to(REPOSITORY)))
            for path in [source, *source.rglob("*")] if source.exists() else []:
                if not os.stat(path).st_mode & 0o004 or (path.is_dir() and not os.stat(path).st_mode & 0o001):
                    hidden.add(str(path.relative_to(REPOSITORY)))
    check(not missing, "every file that a service mounts exists", ", ".join(sorted(missing)))
    check(not hidden, "every file that a service mounts is readable by any user", ", ".join(sorted(hidden)))

    public = [name for name, s in services.items() for port in s.get("ports", []) if port.get("host_ip") != "127.0.0.1"]
    check(not public, "ports are published on loopback only", ", ".join(public))
    unhealthy = [name for name, s in services.items() if "healthcheck" not in s and s.get("restart") != "no"]
    check(
        set(unhealthy) <= {"cadvisor"},
        "every service has a healthcheck, but for the listed",
        ", ".join(unhealthy),
    )

    unbounded = [n for n, s in services.items() if not (s.get("mem_limit") and s.get("pids_limit") and s.get("cpus"))]
    check(not unbounded, "memory, processors and processes of every service are bounded", ", ".join(unbounded))
    unrotated = [n for n, s in services.items() if not s.get("logging", {}).get("options", {}).get("max-size")]
    check(not unrotated, "logs of every service are rotated", ", ".join(unrotated))
    soft = [
        n
        for n, s in services.items()
        if n not in PRIVILEGED
        and (
            s.get("cap_drop") != ["ALL"]
            or s.get("cap_add")
            or "no-new-privileges:true" not in s.get("security_opt", [])
        )
    ]
    check(not soft, "no service has a capability or may gain one, but for the listed", ", ".join(soft))
    check(
        {n for n, s in services.items() if not s.get("read_only")} == WRITABLE,
        "root file systems are read-only, but for the listed",
    )
    check(
        {n for n, s in services.items() if s.get("privileged")} == PRIVILEGED,
        "no service is privileged, but for the listed",
    )
    sockets = {
        n
        for n, s in services.items()
        for v in s.get("volumes", [])
        if v["source"] in ("/var/run/docker.sock", "/var/run")
    }
    check(sockets == {"cadvisor"}, "the engine's socket is in the listed services only", ", ".join(sockets))
    for network in ("data", "logs"):
        check(document["networks"][network].get("internal"), f"network {network} has no way out")
    with_data = {n for n, s in services.items() if "data" in s.get("networks", {})}
    expected = {"mysql", "redis", "api1", "api2", "api3", "mysql-exporter", "redis-exporter", "mysql-backup"}
    check(
        with_data == expected,
        "the stores are reachable by those that work on them only",
        ", ".join(with_data ^ expected),
    )
    readme = (COMPOSE / "README.md").read_text()
    undocumented = [name for name in services if f"`{name}`" not in readme]
    check(not undocumented, "README.md names every service", ", ".join(undocumented))
    return services
