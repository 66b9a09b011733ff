"""Tests of the files in `deploy/`: their published schemas, and their agreement with each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from locust_otel.slo.file import load
from tests import deploy
from tests.deploy import DEPLOY, KUBERNETES, TOP

COMPOSE = deploy.compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("locust-otel:")]
SLO = load(str(TOP / "locustfiles" / "slo.yaml"))
DOCUMENTS = list(deploy.kubernetes())
OPERATOR = "monitoring.coreos.com/v1"
WORKLOADS = [(path, one) for path, one in DOCUMENTS if one["kind"] in ("Deployment", "Job")]
LINGER_S, STOP_TIMEOUT_S = 8, 10


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text())


def name_of(value: object) -> str:
    """Return the id of a test: kind and name of its document."""
    return f"{value['kind']}-{value['metadata']['name']}" if isinstance(value, dict) else ""


# ------------------------------------------------------------------------------------------------- compose


def test_compose_is_valid() -> None:
    """The compose file satisfies the schema of the Compose specification, with and without its variables."""
    schema = get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate(COMPOSE)
    validator.validate(read(DEPLOY / "compose.yaml"))
    with pytest.raises(jsonschema.ValidationError):  # a planted fault
        validator.validate({**COMPOSE, "services": {"shop": {"imag": "x"}}})


def test_images_are_pinned() -> None:
    """Every image of others has a full version."""
    foreign = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert len(foreign) == 4
    assert all(re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", image) for image in foreign)


def test_ports_are_published_on_loopback_only() -> None:
    """The stack is not reachable from other machines."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secrets() -> None:
    """No variable, header or key for a secret has a value in a file of `deploy/`."""
    secrets = [
        (path.name, line)
        for path in DEPLOY.rglob("*")
        if path.is_file() and path.suffix in (".yaml", ".yml")
        for line in path.read_text().splitlines()
        if re.search(
            r"(?i)(passw|secret|token|authorization|api_?key)\w*\"?\s*[:=]\s*+(?!\$\{|-\}|\"Bearer \.\.\.|false)\S",
            line,
        )
    ]
    assert secrets == []


def test_dependencies() -> None:
    """Each dependency is a service; it has a health check if another service waits for its health."""
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in SERVICES, (name, other)
            if condition["condition"] == "service_healthy":
                check = SERVICES[other].get("healthcheck")
                assert check is None if other == "master" else "test" in check, (name, other)


def test_each_service_has_limits() -> None:
    """Each service has limits of memory and CPU; all services together need less than 5 GiB."""
    limits = {name: service["deploy"]["resources"]["limits"] for name, service in SERVICES.items()}
    assert all(float(limit["cpus"]) <= 1 for limit in limits.values())
    scale = {"M": 1, "G": 1024}
    megabytes = {name: int(limit["memory"][:-1]) * scale[limit["memory"][-1]] for name, limit in limits.items()}
    assert sum(megabytes.values()) + 3 * megabytes["worker"] < 5 * 1024


def test_our_services_are_confined() -> None:
    """No service has capabilities, and containers of our image are read-only."""
    assert all(service["cap_drop"] == ["ALL"] for service in SERVICES.values())
    assert all(SERVICES[name]["read_only"] for name in OURS)
    assert all(int(SERVICES[name]["stop_grace_period"][:-1]) > LINGER_S for name in ("master", "worker"))


def test_mounts() -> None:
    """Each mounted file and folder is in the checkout; named volumes are declared."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


@pytest.mark.parametrize("name", ["master", "worker"])
def test_locust_understands_the_services(name: str) -> None:
    """Each flag and variable of a Locust service exists."""
    service = SERVICES[name]
    command = deploy.command(service)
    assert command[:2] == ["locust-otel", "run"]
    options = deploy.locust_options(command[2:])
    assert getattr(options, name)
    assert set(service["environment"]) <= deploy.variables()
    assert name == "worker" or options.expect_workers == int(SERVICES["worker"]["deploy"]["replicas"]) == 4


def test_the_services_find_each_other() -> None:
    """Addresses in flags, variables and configurations are services and their ports."""
    shop = deploy.command(SERVICES["shop"])
    environment = SERVICES["master"]["environment"]
    assert environment["LOCUST_HOST"] == f"http://shop:{shop[shop.index('--port') + 1]}"
    collector = read(DEPLOY / "otel-collector" / "gateway.yaml")["receivers"]["otlp"]["protocols"]
    assert urlsplit(environment["LOCUST_OTEL_OTLP_ENDPOINT"]).hostname == "collector"
    assert collector["http"]["endpoint"].endswith(":4318")
    assert deploy.locust_options(deploy.command(SERVICES["worker"])[2:]).master_host == "master"
    port = deploy.image_environment()["LOCUST_OTEL_PROMETHEUS_PORT"]
    assert read(DEPLOY / "prometheus" / "compose.yml")["scrape_configs"][0]["static_configs"] == [
        {"targets": [f"master:{port}"]}
    ]


def test_prometheus_differs_by_addresses_only() -> None:
    """The configuration of the compose file is the shipped configuration with other targets."""
    own, shipped = (read(DEPLOY / "prometheus" / name) for name in ("compose.yml", "prometheus.yml"))
    for config in (own, shipped):
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = []
        config["scrape_configs"][0]["static_configs"][0]["targets"] = []
    assert own == shipped


def test_the_webhooks_are_received() -> None:
    """The receiver has the address of the shipped Alertmanager configuration, on Alertmanager's loopback."""
    config = read(DEPLOY / "alertmanager" / "alertmanager.yml")
    urls = {urlsplit(hook["url"]).netloc for one in config["receivers"] for hook in one.get("webhook_configs", ())}
    service = SERVICES["notifications"]
    assert urls == {f"127.0.0.1:{service['command'][1]}"}
    assert service["network_mode"] == "service:alertmanager"


def test_grafana_is_provisioned() -> None:
    """Grafana has the data sources and dashboards, and the scrape interval of the SLO file."""
    folder, service = DEPLOY / "grafana" / "provisioning", SERVICES["grafana"]
    sources = read(folder / "datasources" / "locust-otel.yaml")["datasources"]
    interval = read(DEPLOY / "prometheus" / "compose.yml")["global"]["scrape_interval"]
    assert sources[0]["jsonData"]["timeInterval"] == interval == f"{SLO.scrape_interval_s}s"
    assert {source["url"] for source in sources} == {"${PROMETHEUS_URL}", "${ALERTMANAGER_URL}"}
    assert service["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    assert service["environment"]["ALERTMANAGER_URL"] == "http://alertmanager:9093"
    path = read(folder / "dashboards" / "locust-otel.yaml")["providers"][0]["options"]["path"]
    assert f"../dashboards:{path}:ro" in service["volumes"]
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home == Path(path) / "locust-otel-live.json"


@pytest.mark.parametrize("path", sorted((DEPLOY / "otel-collector").glob("*.yaml")), ids=lambda path: path.stem)
def test_variables_of_the_collector(path: Path) -> None:
    """Each variable of a Collector configuration has a default or a value in the compose file."""
    given = set(SERVICES["collector"]["environment"])
    for name, default in re.findall(r"\$\{env:(\w+)(:-[^}]*)?\}", path.read_text()):
        assert default or name in given, name


# ---------------------------------------------------------------------------------------------- Dockerfile


def test_the_image_is_pinned_and_not_root() -> None:
    """The image has a base with a full version, a user that is not root, and a health check of our endpoint."""
    parser = deploy.dockerfile()
    last: dict[str, str] = {step["instruction"]: step["value"] for step in parser.structure}
    assert re.search(r"PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", parser.structure[_first(parser, "ARG")]["value"])
    assert {step["value"].split()[0] for step in parser.structure if step["instruction"] == "FROM"} == {"${PYTHON}"}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert "/-/healthy" in last["HEALTHCHECK"]
    assert (last["ENTRYPOINT"], last["CMD"]) == ('["locust-otel"]', '["run"]')


def _first(parser: Any, instruction: str) -> int:
    return next(i for i, step in enumerate(parser.structure) if step["instruction"] == instruction)


def test_the_image_has_grpc() -> None:
    """The image builds and installs the extra `grpc`."""
    steps = [step["value"] for step in deploy.dockerfile().structure if step["instruction"] == "RUN"]
    assert [re.findall(r"'(?:locust-otel|\.)\[(\w+)\]'", step) for step in steps] == [["grpc"], ["grpc"]]


def test_the_image_sets_options_only() -> None:
    """Each variable of Locust or locust-otel in the image is an option."""
    own = {name for name in deploy.image_environment() if name.startswith("LOCUST")}
    assert own
    assert own <= deploy.variables()


def test_copied_files() -> None:
    """Each source of a COPY exists, and `.dockerignore` allows it or its files for the wheel."""
    allowed = [line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for step in deploy.dockerfile().structure:
        if step["instruction"] == "COPY":
            for source in step["value"].split()[:-1]:
                assert (TOP / source).exists(), source
                assert any(path == source or path.startswith(f"{source}/") for path in allowed), source
    forced = re.findall(r'^"([^"]+)" = "locust_otel/project', (TOP / "pyproject.toml").read_text(), re.M)
    assert len(forced) == 5
    assert set(forced) <= set(allowed)


# ---------------------------------------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize(("path", "document"), DOCUMENTS, ids=name_of)
def test_kubernetes_documents_are_valid(path: Path, document: dict[str, Any]) -> None:
    """Each document satisfies Kubernetes' schema without unknown fields, or has the shape of the Operator."""
    if document["apiVersion"] != OPERATOR:
        kubernetes_validate.validate(document, "1.31", strict=True)
        return
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    if document["kind"] == "ServiceMonitor":
        assert set(document["spec"]) == {"selector", "scrapeClassicHistograms", "endpoints"}
        assert all(set(endpoint) <= {"port", "interval", "scrapeTimeout"} for endpoint in document["spec"]["endpoints"])
    else:
        assert document["kind"] == "PrometheusRule"
        assert all(set(group) == {"name", "interval", "rules"} for group in document["spec"]["groups"])


def test_misspelled_fields() -> None:
    """The validator refuses a misspelled field."""
    document = next(one for _, one in DOCUMENTS if one["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "specs": {}}, "1.31", strict=True)


@pytest.mark.parametrize("path", deploy.kustomizations(), ids=lambda path: str(path.parent.relative_to(TOP)))
def test_kustomizations(path: Path) -> None:
    """Each resource, component and file exists; a folder is a kustomization, and files are inside its folder."""
    document = read(path)
    for name in [*document.get("resources", ()), *document.get("components", ())]:
        target = path.parent / name
        assert target.is_file() or (target / "kustomization.yaml").is_file(), name
        assert target.is_dir() or ".." not in name, name  # kubectl would refuse it
    for generator in document.get("configMapGenerator", ()):
        for name in generator.get("files", ()):
            assert "/" not in name
            assert (path.parent / name).is_file(), name


def test_all_dashboards_are_there_by_their_uid() -> None:
    """Each dashboard is a ConfigMap with its name, and with the label that Grafana's sidecar looks for."""
    document = read(TOP / "dashboards" / "kustomization.yaml")
    files = {config_map["name"]: config_map["files"] for config_map in document["configMapGenerator"]}
    assert files == {path.stem: [path.name] for path in (TOP / "dashboards").glob("*.json")}
    assert document["generatorOptions"]["labels"]["grafana_dashboard"] == "1"


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    """Return the pod of a Deployment or a Job."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(("path", "workload"), WORKLOADS, ids=name_of)
def test_pods_are_confined_and_bounded(path: Path, workload: dict[str, Any]) -> None:
    """Pods are not root, have no capability, token or writable folder, have limits, and take the tag of the image."""
    spec = pod(workload)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"{spec['securityContext']['runAsUser']}:" in deploy.dockerfile().content.partition("USER ")[2]
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["image"] == "locust-otel"
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize(
    ("path", "workload"), [one for one in WORKLOADS if one[1]["metadata"]["name"] != "shop"], ids=name_of
)
def test_locust_understands_the_pods(path: Path, workload: dict[str, Any]) -> None:
    """Flags exist, probes and ports agree, and the grace period is longer than the shutdown."""
    spec = pod(workload)
    (container,) = spec["containers"]
    assert container["args"][0] == "run"
    options = deploy.locust_options(container["args"][1:])
    assert options.headless == (workload["kind"] == "Job" and options.master)
    assert {one["name"] for one in container["env"]} <= deploy.variables()
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    probes = [container[key] for key in container if key.endswith("Probe")]
    assert all(probe["httpGet"] == {"path": "/-/healthy", "port": "metrics"} for probe in probes)
    if options.master:
        assert ports["metrics"] == int(deploy.image_environment()["LOCUST_OTEL_PROMETHEUS_PORT"])
        assert probes
    else:
        assert options.master_host == "locust-master"
        assert not probes
    assert spec["terminationGracePeriodSeconds"] > LINGER_S + STOP_TIMEOUT_S


def test_jobs_end() -> None:
    """A Job has no retries and a deadline, and keeps its pod with the exit code."""
    jobs = [one for _, one in WORKLOADS if one["kind"] == "Job"]
    assert len(jobs) == 2
    for job in jobs:
        assert job["spec"]["backoffLimit"] == 0
        assert job["spec"]["activeDeadlineSeconds"] > SLO.period_s
        assert pod(job)["restartPolicy"] == "Never"


def test_settings_are_options_and_count_the_workers() -> None:
    """The settings of the pods are options, and expect the number of workers of the Job or Deployment."""
    (generator,) = read(KUBERNETES / "base" / "kustomization.yaml")["configMapGenerator"]
    settings = dict(literal.split("=", 1) for literal in generator["literals"])
    assert set(settings) <= deploy.variables()
    workers = [one["spec"] for _, one in WORKLOADS if one["metadata"]["name"] == "locust-worker"]
    counts = {spec.get("replicas", spec.get("parallelism")) for spec in workers}
    assert counts == {int(settings["LOCUST_EXPECT_WORKERS"])}
    assert generator["name"] == "locust-settings"
    masters = [pod(one)["containers"][0] for _, one in WORKLOADS if one["metadata"]["name"] == "locust-master"]
    assert [one["envFrom"] for one in masters] == [[{"configMapRef": {"name": "locust-settings"}}]] * 2
    assert SLO.period_s == 60 * int(settings["LOCUST_RUN_TIME"].removesuffix("m"))


def test_selectors_ports_and_names_agree() -> None:
    """Services select pods with their ports, the ServiceMonitor selects a Service, and policies select pods."""
    labels = {
        (one["kind"], one["metadata"]["name"]): one["spec"]["template"]["metadata"]["labels"] for _, one in WORKLOADS
    }
    services = {one["metadata"]["name"]: one for _, one in DOCUMENTS if one["kind"] == "Service"}
    for name, service in services.items():
        chosen = [one for _, one in WORKLOADS if service["spec"]["selector"].items() <= _labels(one).items()]
        assert {one["metadata"]["name"] for one in chosen} == {name}
        ports = {port["name"] for port in pod(chosen[0])["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    (monitor,) = [one for _, one in DOCUMENTS if one["kind"] == "ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (scraped,) = [one for one in services.values() if wanted <= one["metadata"]["labels"].items()]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in scraped["spec"]["ports"]}
    assert monitor["spec"]["endpoints"][0]["interval"] == f"{SLO.scrape_interval_s}s"
    for _, policy in DOCUMENTS:
        if policy["kind"] == "NetworkPolicy":
            picked = policy["spec"]["podSelector"]["matchLabels"].items()
            assert [key for key, value in labels.items() if picked <= value.items()], policy["metadata"]["name"]
    for _, one in WORKLOADS:
        if one["kind"] == "Deployment":
            assert one["spec"]["selector"]["matchLabels"] == _labels(one)


def _labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def test_the_prometheus_rule_is_the_shipped_rules() -> None:
    """Its groups are those of the rule files."""
    (rule,) = [one for _, one in DOCUMENTS if one["kind"] == "PrometheusRule"]
    files = sorted((DEPLOY / "prometheus" / "rules" / "30m").glob("*.yaml"))
    shipped = [group for path in files for group in read(path)["groups"]]
    assert rule["spec"]["groups"] == shipped
    assert len(shipped) == 2
