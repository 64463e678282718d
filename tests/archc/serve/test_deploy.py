"""The files of deploy/ agree with each other and with `archc serve`."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from archc.cli.parser import app
from archc.serve import server

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
OBJECTS = {each["kind"]: each for each in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8"))}
POD = OBJECTS["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
LABELS = {"app.kubernetes.io/name": "archc"}


def instruction(name: str) -> list[str]:
    """Return the words of an instruction of the Dockerfile in its list form."""
    (words,) = re.findall(rf"^{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return list(json.loads(words))


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the options of a command line of archc."""
    assert words[0] == "archc"
    group = typer.main.get_command(app)
    return group.commands[words[1]].make_context(words[1], words[2:]).params  # type: ignore[attr-defined, no-any-return]


def test_the_image_serves_a_mounted_plan() -> None:
    options = parsed(instruction("ENTRYPOINT") + instruction("CMD"))
    assert (options["host"], options["port"], options["plans"]) == ("0.0.0.0", 8000, ("/plans/engine.plan",))
    assert "EXPOSE 8000" in DOCKERFILE
    assert "http://127.0.0.1:8000/health" in DOCKERFILE


def test_the_image_is_built_from_files_that_exist() -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    included = [line[1:] for line in lines if line.startswith("!")]
    assert not [name for name in included if not (ROOT / name).exists()]
    links = [path.name for path in (ROOT / "archc").iterdir() if path.is_symlink()]
    assert set(links) < set(included)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_a_pod_runs_as_the_user_of_the_image() -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert f"--uid {user} " in DOCKERFILE
    context = POD["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (int(user), int(user), True)


def test_a_pod_has_time_for_its_longest_request() -> None:
    options = parsed(instruction("ENTRYPOINT") + CONTAINER["args"])
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest = pause + options["timeout"] + server._LAST_SECONDS
    assert longest < POD["spec"]["terminationGracePeriodSeconds"] < longest + 60
    assert options["threads"] == int(CONTAINER["resources"]["requests"]["cpu"])


def test_the_objects_refer_to_each_other() -> None:
    assert list(OBJECTS) == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    assert POD["metadata"]["labels"] == OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == LABELS
    assert OBJECTS["Service"]["spec"]["selector"] == LABELS
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "archc"
    (port,) = CONTAINER["ports"]
    assert OBJECTS["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["spec"]["volumes"]
    }


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_for_the_health(name: str) -> None:
    assert CONTAINER[name]["httpGet"] == {"path": "/health", "port": "http"}


def test_the_page_lists_every_argument_on_ray_and_its_default() -> None:
    from archc.serve.ray.options import RayOptions

    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    assert sorted(listed) == sorted(RayOptions.__struct_fields__)
    options = RayOptions(plan="a")
    for names, defaults in rows:
        for name, default in zip(re.findall(r"\w+", names), defaults.split(", "), strict=False):
            assert not default.isdecimal() or getattr(options, name) == int(default)


def test_the_page_lists_every_input_of_a_triton_model() -> None:
    from archc.serve.triton.signature import OPTIONS, OUTPUTS, PROMPTS

    (section,) = re.findall(r"\nInputs are one of (.*?)\n\n", PAGE, re.DOTALL)
    named = re.findall(r"`(\w+)`", section)
    ports = [port.name for port in (*PROMPTS, *OPTIONS, *OUTPUTS)]
    assert named[: len(ports)] == ports


def test_command_lines_of_the_page_parse() -> None:
    lines = re.findall(r"^    (archc .*)$", PAGE, re.MULTILINE)
    assert lines
    for line in lines:
        parsed(line.split())
