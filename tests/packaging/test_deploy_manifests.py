"""What docs/deploy.md deploys: the files are valid to their own validators, and hold neither secrets nor root."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ml_trainer_env.server.settings import Settings

SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN|ROOT_USER")
VERSIONS = ["1.30", "1.37"]


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "deploy"


@pytest.fixture(scope="module")
def compose(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def resources(folder: Path) -> list[dict[str, Any]]:
    """All resources for Kubernetes, in the order of their files."""
    listed = yaml.safe_load((folder / "kubernetes/kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    texts = [(folder / "kubernetes" / name).read_text(encoding="utf-8") for name in listed]
    return [resource for text in texts for resource in yaml.safe_load_all(text)]


def pods(resources: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for resource in resources:
        if resource["kind"] in {"Deployment", "StatefulSet"}:
            yield resource["spec"]["template"]["spec"]


def containers(resources: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pod in pods(resources):
        yield from [*pod.get("initContainers", ()), *pod["containers"]]


def test_the_compose_file_is_valid(folder: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, str(folder / "compose.yaml")], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_in_kubernetes(resources: list[dict[str, Any]], version: str) -> None:
    assert len(resources) >= 8
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_every_file_for_kubernetes_is_listed(folder: Path) -> None:
    listed = yaml.safe_load((folder / "kubernetes/kustomization.yaml").read_text(encoding="utf-8"))["resources"]

    assert {*listed, "kustomization.yaml"} == {path.name for path in (folder / "kubernetes").iterdir()}


def test_services_of_compose_are_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        is_root = service["user"].startswith("0:")

        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not is_root or (service["cap_add"], service["network_mode"]) == (["CHOWN"], "none"), name
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert "healthcheck" in service, name


def test_ports_of_compose_are_those_of_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_pods_run_without_root_and_without_rights(resources: list[dict[str, Any]]) -> None:
    for pod in pods(resources):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), container["name"]
    for container in containers(resources):
        context = container["securityContext"]
        assert not context["allowPrivilegeEscalation"], container["name"]
        assert context["readOnlyRootFilesystem"], container["name"]
        assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]
        assert {"cpu", "memory"} <= set(container["resources"]["limits"]), container["name"]


def test_no_file_holds_a_secret(compose: dict[str, Any], resources: list[dict[str, Any]]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or value.startswith("${"), name
    for container in containers(resources):
        for variable in container.get("env", ()):
            assert not SECRET.search(variable["name"]) or "secretKeyRef" in variable["valueFrom"], variable["name"]
    for resource in resources:
        assert resource["kind"] != "Secret"
        assert not [name for name in resource.get("data", {}) if SECRET.search(name)]


def test_the_server_takes_the_settings_and_both_ways_have_the_same(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    own = compose["services"]["server"]["environment"]
    (theirs,) = [resource["data"] for resource in resources if resource["kind"] == "ConfigMap"]

    settings = Settings.from_environment({**own, "ML_TRAINER_TOKEN": "a-secret-of-16-characters"})

    assert (settings.workers, settings.states_url) == (1, "s3://models/states")
    assert {name: own[name] for name in theirs} == theirs


@pytest.mark.slow
def test_the_bucket_is_created_once_and_may_be_there(
    compose: dict[str, Any], resources: list[dict[str, Any]], s3: Any
) -> None:
    command = compose["services"]["bucket"]["command"]
    (init,) = [container for container in containers(resources) if container["name"] == "bucket"]
    assert init["command"] == command

    for _ in range(2):
        subprocess.run([sys.executable, *command[1:]], env={**os.environ, **s3.variables}, check=True)
