"""Whether a built site loads nothing from other hosts: `self_contained.py SITE`. Prints each page and what it would load."""

import re
import sys
from pathlib import Path

# Attributes and rules by which a browser loads something; links that a reader clicks are not among them.
LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=\"((?:https?:)?//[^\"]+)|"
    r"<link\b(?![^>]*rel=\"(?:canonical|next|prev|search|index|license)\")[^>]*\shref=\"((?:https?:)?//[^\"]+)|"
    r"(?:@import\s+(?:url\()?[\"']?|url\([\"']?)((?:https?:)?//[^\"')]+)"
)


def outside(text):
    return [next(group for group in match.groups() if group) for match in LOADS.finditer(text)]


def main():
    site = Path(sys.argv[1])
    pages = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    wrong = [(path, url) for path in pages for url in outside(path.read_text())]
    for path, url in wrong:
        print(f"{path.relative_to(site)} loads {url}", file=sys.stderr)
    if not pages or wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
