"""What MkDocs doesn't do by itself: pages from outside of docs/, and links that hold on GitHub and in the site."""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from griffe import Extension, Object
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
}
MODULES = ("assets", "errors", "hooks", "links", "local_cloud", "operators", "sensors", "triggers")
STYLE = """
.md-grid { max-width: 72rem; }
.md-typeset td code { word-break: normal; }
"""
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that don't stand in docs/."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    for module in MODULES:
        name = f"ayla_provider.{module}"
        files.append(File.generated(config, f"api/{module}.md", content=f"# `{name}`\n\n::: {name}\n"))
    files.append(File.generated(config, "site.css", content=STYLE))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links from file to file of the repository into links from page to page, or to the source."""
    place = page.file.src_uri
    path = next((one for one, other in OUTSIDE.items() if other == place), f"docs/{place}")

    def linked(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if target in OUTSIDE or target.startswith("docs/"):
            there = OUTSIDE.get(target, target.removeprefix("docs/"))
            return posixpath.relpath(there, posixpath.dirname(place) or ".") + (match[2] or "")
        if (ROOT / target).exists():
            return f"{SOURCE}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"
        return match[0]

    return LINK.sub(linked, markdown)


class Docstrings(Extension):
    """Sphinx's marks in docstrings, as Markdown has them."""

    def on_instance(self, *, obj: Object, **_: object) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring:
            text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?<=\s)::$", "", text, flags=re.MULTILINE)
