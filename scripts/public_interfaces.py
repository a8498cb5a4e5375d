"""Lists the public interface of each published crate, from the pages of `cargo doc`, and compares it with
docs/interfaces. For scripts/check-crates, which runs `cargo doc` first.

usage: public_interfaces.py DOC_FOLDER            fails, and shows the difference, where a listing differs
       public_interfaces.py DOC_FOLDER --write    writes the listings

A listing has one line for each declaration, inherent method and associated constant, one for the traits that a type
implements without parameters, and one for each other implementation (of the auto traits only Send and Sync; blanket
implementations are left out). Items that are hidden from the documentation are
not part of the interface. Types of other crates are named without their paths.
"""

import difflib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTINGS = ROOT / "docs" / "interfaces"
VOID = {"br", "hr", "img", "input", "link", "meta", "wbr", "path", "col"}
LISTS = {
    "implementations-list",
    "trait-implementations-list",
    "synthetic-implementations-list",
    "blanket-implementations-list",
}


class Page(HTMLParser):
    """Collects the declarations of a page of rustdoc: pairs of the list in which they are, and their text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self.is_redirect = False
        # For each open element: its name, the list it is in, whether its text is collected and whether it is dropped.
        self.open: list[tuple[str, str, bool, bool]] = [("", "", False, False)]
        self.text: list[str] = []
        self.depth_of_text = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        classes = named.get("class", "").split()
        if tag == "meta" and named.get("http-equiv") == "refresh":
            self.is_redirect = True
        if tag in VOID:
            if tag == "br" and self.depth_of_text:
                self.text.append(" ")
            return
        if tag == "div" and self.depth_of_text:
            self.text.append(" ")
        _, place, collected, dropped = self.open[-1]
        identifier = named.get("id", "")
        if identifier in LISTS or identifier.startswith("deref-methods"):
            place = identifier
        if tag == "pre" and "item-decl" in classes:
            place, begins = "declaration", True
        elif identifier.startswith("reexport."):
            place, begins = "declaration", True
        else:
            begins = "code-header" in classes
        if begins and not collected:
            self.text, self.depth_of_text = [], len(self.open)
        dropped = dropped or bool({"src", "anchor", "tooltip", "hideme"} & set(classes))
        self.open.append((tag, place, collected or begins, dropped))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        while len(self.open) > 1:
            name, place, collected, _ = self.open.pop()
            if collected and len(self.open) == self.depth_of_text:
                self.found.append((place, re.sub(r"\s+", " ", "".join(self.text)).strip()))
                self.depth_of_text = 0
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        _, _, collected, dropped = self.open[-1]
        if collected and not dropped:
            self.text.append(data)


def listing_of_page(path: Path, name: str) -> list[str]:
    """The lines for one item: its declaration, then what belongs to it."""
    page = Page()
    page.feed(path.read_text())
    if page.is_redirect:
        return []
    declarations, members, traits = [], [], []
    item = name.rsplit("::", 1)[-1]
    is_trait = path.name.startswith("trait.")
    for place, text in page.found:
        if place == "declaration":
            declarations.append(f"{name}: {text}")
        elif place == "implementations-list" and not is_trait:
            # The header of a block of methods says what their type parameters must be.
            if text != f"impl {item}":
                members.append(f"{name}: {text}")
        elif place == "trait-implementations-list" and text.startswith(("impl", "unsafe impl", "type ")):
            simple = re.fullmatch(rf"impl (\w+) for {re.escape(item)}", text)
            if simple:
                traits.append(simple[1])
            else:
                members.append(f"{name}: {text}")
        elif place == "synthetic-implementations-list" and re.search(r"\b(Send|Sync) for ", text):
            simple = re.fullmatch(rf"impl (!?\w+) for {re.escape(item)}", text)
            if simple:
                traits.append(simple[1])
            else:
                members.append(f"{name}: {text}")
    traits = sorted(set(traits) - {"StructuralPartialEq"})
    implemented = [f"{name}: implements {', '.join(traits)}"] if traits else []
    return declarations + implemented + sorted(members)


def listing(folder: Path, crate: str) -> str:
    """The interface of one crate. `folder` has its pages."""
    lines = []
    for path in sorted(folder.rglob("*.html"), key=lambda p: p.relative_to(folder).as_posix()):
        parts = list(path.relative_to(folder).parts)
        if parts in (["all.html"], ["index.html"]) or path.name in ("index.html", "sidebar-items.html"):
            if path.name != "index.html":
                continue
            name = "::".join([crate, *parts[:-1]])
        else:
            kind, _, item = path.name.removesuffix(".html").partition(".")
            name = "::".join([crate, *parts[:-1], item])
            if not item or kind in ("keyword", "primitive"):
                continue
        lines += listing_of_page(path, name)
    return "\n".join(lines) + "\n"


def published() -> list[tuple[str, str]]:
    """Package and crate name of each published library, without those that are libraries for other languages."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    found = []
    for package in metadata["packages"]:
        if package["publish"] == [] or not Path(package["manifest_path"]).is_relative_to(ROOT / "crates"):
            continue
        found += [(package["name"], target["name"]) for target in package["targets"] if "lib" in target["kind"]]
    return sorted(found)


def main() -> int:
    documentation, writing = Path(sys.argv[1]), "--write" in sys.argv[2:]
    version = subprocess.run(["rustdoc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    LISTINGS.mkdir(exist_ok=True)
    names = {package for package, _ in published()}
    differs = False
    for package, crate in published():
        folder, path = documentation / crate.replace("-", "_"), LISTINGS / f"{package}.txt"
        if not (folder / "index.html").exists():
            sys.exit(f"error: {folder} is missing: run `cargo doc --workspace --no-deps` first")
        new = f"# rustdoc {version}\n{listing(folder, crate)}"
        if writing:
            path.write_text(new)
            continue
        old = path.read_text() if path.exists() else ""
        if old == new:
            continue
        if old and old.split("\n", 1)[0] != new.split("\n", 1)[0]:
            # The pages of another version may have other texts for the same interface.
            print(f"skipped: docs/interfaces/{package}.txt was written by another rustdoc than {version}")
            continue
        differs = True
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path.relative_to(ROOT)), "now", n=0, lineterm="")
        print("\n".join(lines))
    for path in LISTINGS.glob("*.txt"):
        if path.stem not in names:
            if writing:
                path.unlink()
            else:
                differs = True
                print(f"{path.relative_to(ROOT)}: there is no such published library")
    if differs:
        print(
            "error: public interfaces changed. If this is meant, `scripts/check-crates --write-interfaces` writes the "
            "listings; an incompatible change needs a line in CHANGELOG.md.",
            file=sys.stderr,
        )
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
