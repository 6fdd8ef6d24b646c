"""What the documents say is what the code has: every command, key, metric, package and dependency."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from gateway.cli.main import COMMANDS, LazyGroup, cli
from gateway.config import Config
from gateway.configtext import LEGACY_ENVIRONMENT, known_paths
from gateway.facts import FACTS
from gateway.serve.metrics import Metrics

ROOT = Path(__file__).parent.parent
README_LINES_MAX = 200


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


README, ARCHITECTURE = text("README.md"), text("ARCHITECTURE.md")


def test_the_readme_is_short_and_its_parts_stand_in_order() -> None:
    assert len(README.splitlines()) <= README_LINES_MAX
    parts = ["See it work", "Run it", "What it speaks", "Operate it", "Figures", "Where to read next"]
    assert re.findall("^## (.*)$", README, re.MULTILINE) == parts


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_every_command_that_the_documents_show_exists() -> None:
    group = cli
    assert isinstance(group, LazyGroup)
    shown = set(re.findall(r"heliograph ((?:[a-z-]+ ?){1,2})", README + ARCHITECTURE + text("gateway/DESIGN.md")))
    context = click.Context(group)
    for words in (one.split() for one in shown):
        command = group.get_command(context, words[0])
        assert command is not None, words
        if isinstance(command, click.Group) and len(words) > 1:
            assert command.get_command(context, words[1]) is not None, words


def test_every_section_of_the_configuration_stands_in_the_readme() -> None:
    sections = {path.split(".")[0] for path in known_paths() if "." in path}
    table = README[README.index("| section |") : README.index("## What it speaks")]
    assert {re.split(r"[.,`]", one)[0] for one in re.findall(r"^\| `([^|]*)` \|", table, re.MULTILINE)} | {
        "workers"
    } == sections
    for name in LEGACY_ENVIRONMENT:
        assert name in README or name.startswith("GATEWAY_TLS")


def test_every_key_is_explained_where_it_is_shown() -> None:
    assert Config.__doc__
    example = text("gateway/cli/example.toml")
    bare = {path.split(".")[-1] for path in known_paths()} - set(re.findall(r"^(?:# )?(\w+) = ", example, re.MULTILINE))
    assert not bare


def published() -> set[str]:
    families = Metrics().registry.collect()
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_every_metric_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^\| `(gateway_\w+)` \|", text("gateway/DESIGN.md"), re.MULTILINE)) == published()


def test_the_metrics_of_the_readme_exist() -> None:
    table = README[README.index("| metric |") : README.index("## Figures")]
    for name in re.findall(r"`(gateway_[\w{},*]+)`", table):
        for each in expanded(re.sub(r"\{(?!issues)[^}]*\}$", "", name)):
            assert [one for one in published() if one == each or (each.endswith("*") and one.startswith(each[:-1]))], (
                name
            )


def expanded(name: str) -> list[str]:
    """``a_{b,c}_d`` -> ``a_b_d``, ``a_c_d``."""
    found = re.fullmatch(r"(.*)\{([^}]*)\}(.*)", name)
    return [f"{found[1]}{one}{found[3]}" for one in found[2].split(",")] if found else [name]


def test_the_code_map_names_every_package_and_only_those() -> None:
    packages = {
        str(one.parent.relative_to(ROOT)) + "/"
        for room in ("eventlog", "gateway")
        for one in (ROOT / room).rglob("__init__.py")
    }
    named = set(re.findall(r"^\*\*`([^`]*)`\*\*", ARCHITECTURE, re.MULTILINE))
    assert named == packages | {"gateway/console/"}


def test_the_documents_name_only_files_that_exist() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "gateway/DESIGN.md"):
        for path in re.findall(r"`((?:eventlog|gateway|tests|bench)/[\w./]+)`", text(document)):
            assert (ROOT / path).exists(), (document, path)
        for link in re.findall(r"\]\(([^)#]+)\)", text(document)):
            assert (ROOT / Path(document).parent / link).exists(), (document, link)


def test_every_invariant_is_marked_and_every_package_has_one() -> None:
    map_of_code = ARCHITECTURE[ARCHITECTURE.index("## Code map") : ARCHITECTURE.index("## What holds everywhere")]
    parts = [
        part
        for part in map_of_code.split("\n\n")
        if part.startswith("**`") and "cli/demo" not in part and "console" not in part
    ]
    assert all("*Invariant:*" in part for part in parts)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    table = ARCHITECTURE[ARCHITECTURE.index("## Dependencies") :]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0]
        assert re.search(rf"^\| [^|]*\b{name}\b", table, re.MULTILINE), name


def test_the_changelog_names_every_kind_of_record() -> None:
    assert [kind for kind in FACTS if f"`{kind}`" not in text("CHANGELOG.md")] == []


def test_make_offers_what_the_readme_says() -> None:
    makefile = text("Makefile")
    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
