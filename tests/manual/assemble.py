"""Writes the sources of the manual's site into a folder: the pages of docs/, the documents of the root (`pages.DOCUMENTS`), the files
that pages include, and Sphinx's configuration. Links between pages lead to their places in the site; links to other files lead to the
repository.

`assemble.py FOLDER`"""

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pages
from pages import DOCS, DOCUMENTS, ROOT

TABLES_OF_CONTENTS = {
    "Start": ["start", "coming-from-go", "embedding", "recipes/*"],
    "Use": ["live-page", "command-line", "own-metrics", "guarantees", "security", "performance", "ottl"],
    "Reference": ["reference/README", "reference/codes", "from-go/*", "differences"],
    "Work on it": ["architecture", "adding-a-component", "contributing", "benches", "deploying", "changelog"],
}


def site_pages():
    """The pages of the site by the file that they come from, with their place."""
    found = {path: path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    found.update({ROOT / source: name for name, source in DOCUMENTS.items()})
    found[DOCS / "README.md"] = "index.md"
    return found


def repository_url():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["repository"]


class Assembly:
    def __init__(self, folder):
        self.folder, self.places, self.url = folder, site_pages(), repository_url()

    def link(self, page, target):
        """What a link of this page is in the site."""
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return target
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve()
        anchor = f"#{anchor}" if anchor else ""
        if file.is_relative_to(DOCS) and file.suffix in (".svg", ".webp", ".png", ".1"):
            return os.path.relpath(self.folder / file.relative_to(DOCS), (self.folder / self.places[page]).parent)
        if file in self.places:
            here = Path(self.places[page]).parent
            return os.path.relpath(self.places[file], here) + anchor
        kind = "tree" if file.is_dir() else "blob"
        return f"{self.url}/{kind}/main/{file.relative_to(ROOT).as_posix()}{anchor}"

    def text(self, page):
        """The page with its links as they are in the site. Code stays as it is."""
        out, in_fence = [], None
        for line in page.read_text().split("\n"):
            fence = pages.FENCE.match(line)
            if fence and (in_fence is None or (fence.group(2).startswith(in_fence) and not fence.group(3))):
                in_fence = fence.group(2) if in_fence is None else None
                include = re.match(r"\s*`+\{literalinclude\} /(\S+)$", line)
                if include:
                    self.copy(include.group(1))
                    line = line.replace(f"/{include.group(1)}", f"/_files/{include.group(1)}")
                # What Rust's test runner reads of a block is no language.
                line = re.sub(r"^(\s*```+)(rust|sh|yaml)[ ,].*$", r"\1\2", line)
            elif in_fence is None:
                line = self.with_links(page, line)
            out.append(line)
        return "\n".join(out)

    def with_links(self, page, line):
        codes = []

        def hide(match):
            codes.append(match.group())
            return f"\0{len(codes) - 1}\0"

        line = re.sub(r"`[^`]*`", hide, line)
        line = pages.LINK.sub(lambda m: f"{m.group(1)}[{m.group(2)}]({self.link(page, m.group(3))})", line)
        return re.sub(r"\0(\d+)\0", lambda m: codes[int(m.group(1))], line)

    def copy(self, name):
        target = self.folder / "_files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)

    def write(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for page, place in self.places.items():
            target = self.folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self.text(page))
        for name in ("pictures",):
            shutil.copytree(DOCS / name, self.folder / name)
        shutil.copyfile(DOCS / "otelcore.1", self.folder / "otelcore.1")
        index = self.folder / "index.md"
        with index.open("a") as file:
            for title, entries in TABLES_OF_CONTENTS.items():
                file.write(f"\n```{{toctree}}\n:caption: {title}\n:hidden:\n:glob:\n\n" + "\n".join(entries) + "\n```\n")
        with (self.folder / "reference/README.md").open("a") as file:
            file.write("\n```{toctree}\n:hidden:\n:glob:\n\n" + "\n".join(f"{kind}/*" for kind in (
                "receivers", "processors", "exporters", "connectors", "extensions")) + "\n```\n")
        shutil.copyfile(Path(__file__).with_name("conf.py"), self.folder / "conf.py")


if __name__ == "__main__":
    Assembly(Path(sys.argv[1]).resolve()).write()
