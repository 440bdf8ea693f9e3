"""A Ray cluster of this machine for tests, and what can be seen of it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN = "t" * 64


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster with a token.

    Attributes:
        address: host and port of its head.
        process: what started it; the others descend from it.
        environment: what a program needs to join in.
    """

    address: str
    process: int
    environment: dict[str, str]

    def pids(self) -> list[int]:
        """Its processes, children of children included."""
        return descendants(self.process)

    def workers(self) -> list[int]:
        """Its actors that hold a decoder and an engine."""
        return [pid for pid in self.pids() if "Map(Worker)" in _title(pid)]

    def ports(self) -> list[tuple[str, int]]:
        """Where its processes listen: host and port."""
        inodes = {inode for pid in self.pids() for inode in _sockets(pid)}
        return _listening(inodes)


@contextmanager
def ray_cluster(folder: Path, *, mode: str = "token", cores: int = 2) -> Iterator[RunningCluster]:
    """Start a head with workers; end all of it afterwards."""
    ray = Path(sys.executable).with_name("ray")
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": mode,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if mode == "token":
        environment["RAY_AUTH_TOKEN"] = TOKEN
    port = _free_port()
    words = ["start", "--head", "--block", f"--port={port}", f"--num-cpus={cores}"]
    words += ["--include-dashboard=false", "--object-store-memory=200000000"]
    log = folder / "ray.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(ray), *words],
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        address = _address(log, process, port)
        client = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": environment.get("RAY_AUTH_TOKEN", "")}
        yield RunningCluster(address, process.pid, client)
    finally:
        _end(process)


def _address(log: Path, process: subprocess.Popen[bytes], port: int) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"Local node IP:\S*\s+(\S+)", _plain(log))
        if found and "Ray runtime started" in _plain(log):
            return f"{found[1]}:{port}"
        time.sleep(0.2)
    raise AssertionError(_plain(log))


def _plain(log: Path) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    everyone = descendants(process.pid)
    for pid in everyone:
        if "ray" in _title(pid):  # decoders of workers have to end by themselves
            kill(pid)
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in everyone) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in everyone if alive(pid)]


def kill(pid: int) -> None:
    """End a process at once; one that has ended is no matter."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def descendants(root: int) -> list[int]:
    """A process, its children, and theirs."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(place.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _sockets(pid: int) -> list[int]:
    found = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            found.append(int(match[1]))
    return found


def _listening(inodes: set[int]) -> list[tuple[str, int]]:
    """From the kernel's tables; an address for everybody is reached at the loopback."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[9]) in inodes:
                host, _, port = fields[1].partition(":")
                found.add((_host(host), int(port, 16)))
    return sorted(found)


def _host(text: str) -> str:
    if not int(text, 16):
        return "127.0.0.1"
    last = bytes.fromhex(text[-8:])[::-1]  # an IPv4 address, also inside an IPv6 one
    return ".".join(map(str, last))


def _free_port() -> int:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
