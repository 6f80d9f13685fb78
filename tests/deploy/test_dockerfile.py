"""deploy/Dockerfile, read as text: what goes into the images and as whom they run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Services = dict[str, dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE))


def copied() -> set[str]:
    """Return what the build takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()}


def test_every_target_of_the_compose_file_is_a_stage(services: Services) -> None:
    """Services that are built name this Dockerfile and a stage of it; they build from the repository's root."""
    for name, service in services.items():
        if name == "etcd":
            continue
        build = service["build"]
        assert build["target"] in STAGES
        assert (Path(build["context"]) / build["dockerfile"]).samefile(ROOT / "deploy/Dockerfile")


def test_images_do_not_run_as_root() -> None:
    """Both images end as a user other than root, the one that owns the gateway's run folder in the compose file."""
    for target in ("gateway", "worker"):
        assert re.findall(r"^USER (\S+)$", STAGES[target], re.MULTILINE) == ["10001:10001"]
    assert "uid=10001,gid=10001" in (ROOT / "docker-compose.yml").read_text()


def test_the_build_takes_what_the_wheel_is_made_of() -> None:
    """Every folder of the wheel is copied, every copied path exists, and the ignore file lets exactly these through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    folders = {str(Path(package).parent) for package in packages}
    assert copied() == folders | {"pyproject.toml", "README.md", "LICENSE"}
    assert all((ROOT / path).exists() for path in copied())
    ignore = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == copied()


def test_the_demos_models_are_those_of_the_makefile() -> None:
    """The image installs the version of the models' wheel that `make demo` installs."""
    pinned = re.findall(r"rapidocr-onnxruntime==[\d.]+", DOCKERFILE)
    assert pinned
    assert set(pinned) == set(re.findall(r"rapidocr-onnxruntime==[\d.]+", (ROOT / "Makefile").read_text()))


def test_the_images_python_is_supported() -> None:
    """The base image's Python is one that the project supports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = tuple(map(int, re.findall(r"\d+", project["requires-python"])))
    versions = re.findall(r"^FROM python:(\d+)\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert versions
    assert all(tuple(map(int, version)) >= lowest for version in versions)
