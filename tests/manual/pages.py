"""The pages of the documentation: where they are, their headings, links and blocks of code. Reads files; writes none.

A page is Markdown. `{literalinclude} /path` in a fence stands for that file of the repository, so that a recipe shows the very file
that a test runs."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Documents outside of docs/ that are pages of the manual, by the name of their page.
DOCUMENTS = {
    "architecture.md": "ARCHITECTURE.md",
    "differences.md": "DIFFERENCES.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "benches.md": "benches/README.md",
    "deploying.md": "deploy/README.md",
}
FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*(.*)$")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")


@dataclass
class Block:
    """A fence: its language, its text, and the line of its first line of text."""

    language: str
    text: str
    line: int


def repository_pages():
    """Every Markdown file of the repository that is ours."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return sorted(ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


def split(text):
    """The text without its blocks, a blank line for each line of them, and the blocks."""
    plain, blocks, fence, body = [], [], None, []
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence = (match.group(2), match.group(3).strip(), number + 1, len(match.group(1)))
            body = []
        elif fence is not None and match and match.group(2).startswith(fence[0]) and not match.group(3):
            blocks.append(Block(fence[1], "\n".join(body) + "\n", fence[2]))
            fence = None
        elif fence is not None:
            body.append(line[min(fence[3], len(line) - len(line.lstrip())):])
        plain.append("" if fence is not None or match else line)
    return "\n".join(plain), blocks


def included(block):
    """The file that a block stands for, or None."""
    if not block.language.startswith("{literalinclude}"):
        return None
    return ROOT / block.language.split(None, 1)[1].strip().lstrip("/")


def anchors(text):
    """The anchors of the headings, as GitHub and the manual make them."""
    plain, _ = split(text)
    seen, result = {}, set()
    for line in plain.splitlines():
        match = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if not match:
            continue
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match.group(1))
        slug = re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        result.add(slug if count == 0 else f"{slug}-{count}")
    return result


def links(text):
    """The links outside of code, each with its line: (line, is a picture, target)."""
    plain, _ = split(text)
    for number, line in enumerate(plain.splitlines(), 1):
        for match in LINK.finditer(re.sub(r"`[^`]*`", lambda code: "`" + "x" * (len(code.group()) - 2) + "`", line)):
            yield number, bool(match.group(1)), match.group(3)


def relative(path):
    return os.path.relpath(path, ROOT)
