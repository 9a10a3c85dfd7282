"""Files beside the code agree with it."""

import re
import tomllib
from pathlib import Path

import yaml

from mlvae.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_has_the_version_the_license_and_the_address_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == __version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation.get("repository-code") == PROJECT["project"]["urls"].get("Source")


def test_the_oldest_supported_python_is_the_one_that_the_tools_check():
    (oldest,) = re.findall(r"^>=(\d\.\d+)$", PROJECT["project"]["requires-python"])
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == oldest
    classifiers = PROJECT["project"]["classifiers"]
    versions = [text.split()[-1] for text in classifiers if re.search(r":: 3\.\d+$", text)]
    assert versions[0] == oldest


def test_pre_commit_runs_local_hooks_only():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_the_files_and_folders_named_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:mlvae|scripts|configs|tests|\.ci)/[\w/.]*)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_files_named_in_the_design_exist():
    text = (ROOT / "docs" / "design.md").read_text()
    paths = re.findall(r"`((?:mlvae|scripts)/[\w/]+\.py)`", text)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
    drawing = text.split("    mlvae/\n")[1].split("\n\n")[0]
    drawn = re.findall(r"^      ([\w/]+(?:\.py)?) ", drawing, flags=re.MULTILINE)
    assert [name for name in drawn if not (ROOT / "mlvae" / name).exists()] == []
