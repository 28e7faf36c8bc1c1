from __future__ import annotations

from pathlib import Path

import pytest

from scripts import deploy, provision, terraform

FRAMED = """\
╷
│ Warning: something old
│
╵
╷
│ Error: Invalid value for variable
│
│   on variables.tf line 3:
│    3: variable "region" {
│
│ region must be the name of an AWS region.
╵
╷
│ Error: another
╵
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test touches the embedded AWS of this checkout."""
    monkeypatch.setenv("LOCALAWS_HOME", str(tmp_path / "localaws"))


def test_the_first_error_is_told_without_its_frame() -> None:
    assert terraform._first_error(FRAMED) == (
        'Invalid value for variable on variables.tf line 3: 3: variable "region" { '
        "region must be the name of an AWS region."
    )
    assert terraform._first_error("all is well") == ""


def test_without_a_provider_terraform_is_not_usable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TF_PLUGIN_DIR", raising=False)
    monkeypatch.setattr(terraform, "FOLDER", tmp_path)
    monkeypatch.setattr(terraform, "ROOT", tmp_path)
    assert terraform.mirror() is None
    assert terraform.is_usable() is False
    providers = tmp_path / "build" / "terraform" / "dev" / "providers"
    providers.mkdir(parents=True)
    assert terraform.mirror() == providers
    monkeypatch.setenv("TF_PLUGIN_DIR", "/given")
    assert terraform.mirror() == Path("/given")


def test_without_the_program_terraform_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert terraform.is_usable() is False
    with pytest.raises(terraform.TerraformError, match=r"install Terraform 1\.11"):
        terraform.binary()


def test_a_copy_takes_no_backend_and_no_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / ".terraform").mkdir(parents=True)
    for name in ("main.tf", "backend.tf", "dev.tfstate", ".terraform.lock.hcl"):
        (source / name).write_text("")
    monkeypatch.setattr(terraform, "FOLDER", source)
    copied = terraform.copy_root(tmp_path / "copy")
    assert {path.name for path in copied.iterdir()} == {"main.tf", ".terraform.lock.hcl"}
    assert (copied / ".." / "plugins" / "clickstream" / "names.json").exists()


def test_what_terraform_made_is_not_touched_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(terraform, "is_usable", lambda: False)
    (tmp_path / "terraform").mkdir()
    (tmp_path / "terraform" / "terraform.tfstate").write_text("{}")
    with pytest.raises(provision.ProvisionError, match="set TF_PLUGIN_DIR"):
        provision.provision(tmp_path, 1)


class _Deployed:
    def __init__(self, outputs: dict[str, object]) -> None:
        self._outputs = outputs

    def init(self, *_: str) -> None: ...

    def outputs(self) -> dict[str, object]:
        return self._outputs


def test_make_env_keeps_what_else_the_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deploy, "ROOT", tmp_path)
    environment = tmp_path / ".env"
    environment.write_text("EVENTS=5\nAWS_REGION=old\n")
    deployment = deploy.Deployment("embedded")
    deployment.terraform = _Deployed({"environment": {"AWS_REGION": "eu-central-1"}})  # type: ignore[assignment]
    deployment.write_environment()
    assert environment.read_text() == "EVENTS=5\nAWS_REGION=eu-central-1\n"


def test_a_protected_environment_is_not_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy.Deployment("embedded")
    deployment.terraform = _Deployed({"is_protected": True})  # type: ignore[assignment]
    with pytest.raises(deploy.Trouble, match="embedded is protected: set is_protected = false"):
        deployment.destroy(is_confirmed=True)


def test_an_environment_that_is_not_deployed_has_no_settings() -> None:
    deployment = deploy.Deployment("embedded")
    deployment.terraform = _Deployed({})  # type: ignore[assignment]
    with pytest.raises(deploy.Trouble, match="make deploy ENV=embedded"):
        deployment.write_environment()
