"""Adds a bill of materials to the wheel: CycloneDX, and the same bytes for the same commit."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp

NAME = "airflow-provider-ayla"


def canonical(requirement: str) -> str:
    """Return the name of the package that a requirement is of, as PyPI writes it in addresses."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} is no requirement")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def purl(name: str, version: str | None) -> str:
    """Return a package's address in a bill of materials: ``pkg:pypi/duckdb@1.4.0``."""
    return f"pkg:pypi/{name}@{version}" if version else f"pkg:pypi/{name}"


def bill_of_materials(project: dict[str, Any], version: str, tested: dict[str, str], time: datetime) -> dict[str, Any]:
    """
    Return the bill of materials, a CycloneDX document.

    The package contains no code of others. So the components are the packages that it asks for, with the version that
    the tests ran with. What is installed is up to the constraints of the user's Airflow.

    :param project: ``[project]`` of pyproject.toml
    :param tested: package to its version in the tests
    :param time: aware
    """
    of_extra = {"": project["dependencies"], **project["optional-dependencies"]}
    requirements: dict[str, set[tuple[str, str]]] = {}
    for extra, wanted in of_extra.items():
        for requirement in wanted:
            requirements.setdefault(canonical(requirement), set()).add((extra, requirement))
    components = []
    for name, wanted_by in sorted(requirements.items()):
        properties = [
            {"name": f"{NAME}:requirement", "value": text} for text in sorted({each for _, each in wanted_by})
        ]
        properties += [{"name": f"{NAME}:extra", "value": extra} for extra, _ in sorted(wanted_by) if extra]
        is_required = any(not extra for extra, _ in wanted_by)
        components.append(
            {
                "type": "library",
                "bom-ref": purl(name, tested.get(name)),
                "name": name,
                **({"version": tested[name]} if name in tested else {}),
                "scope": "required" if is_required else "optional",
                "purl": purl(name, tested.get(name)),
                "properties": properties,
            }
        )
    root = purl(NAME, version)
    urls = project["urls"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": NAME,
                "version": version,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": root,
                "externalReferences": [
                    {"type": "vcs", "url": urls["Source"]},
                    {"type": "issue-tracker", "url": urls["Issues"]},
                    {"type": "documentation", "url": urls["Documentation"]},
                ],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
        # What these packages need themselves isn't listed.
        "compositions": [{"aggregate": "incomplete", "assemblies": [root]}],
    }


class BillOfMaterials(BuildHookInterface[Any]):
    """Writes the bill of materials while the wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the document where hatchling finds it."""
        if version == "editable":
            return
        root = Path(self.root)
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        pins = (root / "constraints" / "dev.txt").read_text(encoding="utf-8")
        tested = {canonical(name): pin for name, pin in re.findall(r"^([\w.-]+)==(\S+)", pins, re.MULTILINE)}
        time = datetime.fromtimestamp(get_reproducible_timestamp(), UTC)
        document = bill_of_materials(project, self.metadata.version, tested, time)
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / f"{NAME}.cdx.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the document again."""
        if version != "editable":
            self._folder.cleanup()
