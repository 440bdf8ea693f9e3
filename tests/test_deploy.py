"""The files of `examples/deploy`: they say what the server understands, and their numbers agree."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml
from typer.main import get_command

from bundle_support import packed
from certificate_support import write_certificate
from keshikaran.cli.main import app
from keshikaran.web.server import _LAST_RESORT_S
from keshikaran.web.settings import ServerSettings
from serve_support import Running

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "examples" / "deploy"
DEFAULTS = ServerSettings()


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def options_of(words: list[str]) -> set[str]:
    """The options in a command line of `keshikaran serve`; each of them exists."""
    group: Any = get_command(app)
    known = {word for each in group.commands["serve"].params for word in each.opts}
    given = {word for word in words if word.startswith("-")}
    assert given <= known
    return given


def seconds(text: str) -> float:
    """A time as nginx, systemd and compose write it."""
    return float(text.removesuffix("s"))


# systemd


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "keshikaran.service")
    return parser["Service"]


def test_unit_starts_the_server_with_options_that_exist() -> None:
    words = shlex.split(unit()["ExecStart"])
    assert words[1] == "serve"
    assert options_of(words[2:]) == {"--model", "--token-file"}
    assert seconds(unit()["TimeoutStopSec"]) > _LAST_RESORT_S


def test_unit_leaves_nothing_open_that_the_server_does_not_need() -> None:
    service = unit()
    closed = ("ProtectSystem", "DynamicUser", "NoNewPrivileges", "MemoryMax", "PrivateDevices")
    assert all(service[name] not in ("", "no") for name in closed)
    assert service["CapabilityBoundingSet"] == ""
    assert "landlock_restrict_self" in service["SystemCallFilter"].split()
    assert service["OOMPolicy"] == "continue"


def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    path = tmp_path / "keshikaran.service"
    text = (DEPLOY / "keshikaran.service").read_text()
    path.write_text(text.replace("/opt/keshikaran/bin/keshikaran", sys.executable))
    assert sys.executable in path.read_text()
    if tool is not None:
        command = [tool, "verify", "--recursive-errors=no", "--man=no", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# nginx


def nginx_errors(text: str, folder: Path) -> list[str]:
    """What nginx's own parser finds wrong in a file of `conf.d`."""
    (folder / "site.conf").write_text(text)
    main = folder / "nginx.conf"
    places = "".join(f"{name}_temp_path {name};" for name in _TEMPORARY)
    main.write_text(f"pid pid; events {{}} http {{ {places} access_log off; include site.conf; }}")
    found = crossplane.parse(str(main), strict=True, check_ctx=True, check_args=True)
    return [error["error"] for error in found["errors"]]


def nginx_values(name: str) -> list[str]:
    text = (DEPLOY / "nginx.conf").read_text()
    return re.findall(rf"^\s*{name} ([^;]+);", text, re.MULTILINE)


def test_nginx_file_is_well_formed(tmp_path: Path) -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    certificate = write_certificate(tmp_path, "moderation.example")
    text = re.sub(r"/etc/ssl/\w+/moderation\.example\.\w+", str(certificate), text)
    assert nginx_errors(text, tmp_path) == []
    for wrong, right in (
        ("proxy_request_bufering off", "proxy_request_buffering off"),
        ("limit_req_status", "limit_req_status 429"),
        ("proxy_next_upstream off; }", "proxy_next_upstream off;"),
    ):
        assert nginx_errors(text.replace(right, wrong), tmp_path) != []
    nginx = shutil.which("nginx")
    if nginx is not None:
        nginx_errors(text, tmp_path)
        command = [nginx, "-t", "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nginx_allows_what_the_server_takes_and_waits_as_long() -> None:
    assert nginx_values("client_max_body_size") == [f"{DEFAULTS.max_request_bytes >> 20}m"]
    (sending,) = map(seconds, nginx_values("proxy_send_timeout"))
    assert sending > DEFAULTS.body_timeout_s
    kept, at_clients = map(seconds, nginx_values("keepalive_timeout"))
    assert kept < DEFAULTS.idle_timeout_s
    assert at_clients <= DEFAULTS.idle_timeout_s
    assert nginx_values("proxy_request_buffering") == ["off"]


# Docker


def dockerfile() -> dict[str, Any]:
    """The instructions that hold a command, by name."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.findall(r"^(ENTRYPOINT|CMD|HEALTHCHECK .*CMD) (\[.*\])$", text, re.MULTILINE)
    return {name.split()[0]: json.loads(words) for name, words in found}


def test_image_starts_the_server_with_options_that_exist() -> None:
    said = dockerfile()
    assert said["ENTRYPOINT"][:2] == ["keshikaran", "serve"]
    options = options_of([*said["ENTRYPOINT"], *said["CMD"]])
    assert options == {"--model", "--host", "--token-file"}
    copied = re.findall(r"^COPY ([^-].*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())


def test_health_check_says_whether_requests_are_taken(tmp_path: Path) -> None:
    words = dockerfile()["HEALTHCHECK"]
    (tmp_path / "model.onnx").write_bytes(packed())

    def healthy(port: int) -> bool:
        command = [sys.executable, *words[1:]]
        command[-1] = command[-1].replace(":8000/", f":{port}/")
        assert f":{port}/readyz" in command[-1]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    with Running(tmp_path / "model.onnx", tmp_path / "log", drain_s=5) as server:
        assert healthy(server.port)
        server.process.terminate()
        while server.get("/readyz").status == 200:
            pass
        assert not healthy(server.port)
    assert not healthy(server.port)


def test_compose_file_builds_that_image_and_gives_it_no_more_than_it_needs() -> None:
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = whole["services"]["keshikaran"]
    build = service["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT.resolve()
    assert (context / build["dockerfile"]).is_file()
    said = dockerfile()
    (volume,) = service["volumes"]
    assert volume["target"] in said["ENTRYPOINT"]
    assert volume["read_only"]
    (secret,) = service["secrets"]
    assert f"/run/secrets/{secret}" in said["CMD"]
    assert secret in whole["secrets"]
    assert "ports" not in service
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert seconds(service["stop_grace_period"]) > _LAST_RESORT_S
    assert all(name in whole["networks"] for name in service["networks"])


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_file_is_described(path: Path) -> None:
    assert f"](../examples/deploy/{path.name})" in (ROOT / "docs" / "clients.md").read_text()
