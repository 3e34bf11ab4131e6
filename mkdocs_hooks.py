"""MkDocs hooks: add pages from outside docs/, and make links work both on GitHub and in the site."""

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
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "ayla_provider" / "__init__.py").read_text(encoding="utf-8"))
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
}
MODULES = ("assets", "destinations", "errors", "hooks", "links", "local_cloud", "operators", "sensors", "triggers")
# The theme's own values of these colors have a contrast below 4.5 to 1.
STYLE = """
body[data-md-color-scheme=default][data-md-color-primary] {
  --md-accent-fg-color: #4051b5;
  --md-default-fg-color--light: #666666;
}
body[data-md-color-scheme=slate][data-md-color-primary] {
  --md-accent-fg-color: #9db5ff;
  --md-default-fg-color--light: #adb0b8;
  --md-typeset-a-color: #7da3ea;
  --md-code-hl-constant-color: #a99bea;
  --md-code-hl-number-color: #f0857a;
}
.md-typeset .headerlink { color: var(--md-default-fg-color--light); }
.md-grid { max-width: 72rem; }
.md-typeset td code { word-break: normal; }
"""
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the version and a link to the source below each page."""
    version = VERSION[1] if VERSION else ""
    config.copyright = f'Version {version}. <a href="{SOURCE}">Source</a>. {config.copyright}'
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    for module in MODULES:
        name = f"ayla_provider.{module}"
        files.append(File.generated(config, f"api/{module}.md", content=f"# `{name}`\n\n::: {name}\n"))
    index = "\n".join(f"- [`ayla_provider.{module}`]({module}.md)" for module in MODULES)
    files.append(File.generated(config, "api/index.md", content=f"# API reference\n\nThe public modules:\n\n{index}\n"))
    files.append(File.generated(config, "site.css", content=STYLE))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages, or into links to the source."""
    place = page.file.src_uri
    path = next((source for source, target in OUTSIDE.items() if target == place), f"docs/{place}")

    def rewrite(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if target in OUTSIDE or target.startswith("docs/"):
            linked_page = OUTSIDE.get(target, target.removeprefix("docs/"))
            return posixpath.relpath(linked_page, posixpath.dirname(place) or ".") + (match[2] or "")
        if (ROOT / target).exists():
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"{SOURCE}/{kind}/main/{target}"
        return match[0]

    return LINK.sub(rewrite, markdown)


class Docstrings(Extension):
    """Convert Sphinx markup in docstrings to Markdown."""

    def on_instance(self, *, obj: Object, **_: object) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring:
            text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?<=\s)::$", "", text, flags=re.MULTILINE)
