"""Checks the dependencies of the workspace against deny.toml: denied crates, denied features, licences, sources.

`cargo deny check` does the same and more, but takes longer to build than all crates of this workspace; it belongs to
`scripts/check-crates --slow`. This script reads `cargo metadata` and the same file, so that the rules stand once.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES = ("registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/")


def licence_is_allowed(expression: str, allowed: set[str]) -> bool:
    """Evaluates an SPDX expression: names, AND, OR, WITH, parentheses; `/` is the old spelling of OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    words = []
    for token in tokens:
        if token in ("(", ")"):
            words.append(token)
        elif token in ("AND", "OR"):
            words.append(token.lower())
        elif token == "WITH":
            words.append("with")
        else:
            words.append(token)
    # A licence with an exception is one name.
    merged: list[str] = []
    for word in words:
        if merged and merged[-1] == "with":
            merged.pop()
            merged[-1] = f"{merged[-1]} WITH {word}"
        else:
            merged.append(word)

    def either(position: int) -> tuple[bool, int]:
        value, position = both(position)
        while position < len(merged) and merged[position] == "or":
            right, position = both(position + 1)
            value = value or right
        return value, position

    def both(position: int) -> tuple[bool, int]:
        value, position = one(position)
        while position < len(merged) and merged[position] == "and":
            right, position = one(position + 1)
            value = value and right
        return value, position

    def one(position: int) -> tuple[bool, int]:
        if merged[position] == "(":
            value, position = either(position + 1)
            return value, position + 1
        return merged[position] in allowed, position + 1

    return either(0)[0]


def shipped(metadata: dict, packages: dict, nodes: dict) -> set[str]:
    """The packages that a published crate is built from: those of tests and of unpublished crates are left out."""
    waiting = [member for member in metadata["workspace_members"] if packages[member]["publish"] != []]
    found: set[str] = set()
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return found


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    denied = {entry["name"] for entry in rules["bans"]["deny"]}
    features = {entry["name"]: set(entry["deny"]) for entry in rules["bans"].get("features", [])}
    allowed = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    errors = []
    for node in map(nodes.__getitem__, sorted(shipped(metadata, packages, nodes))):
        package = packages[node["id"]]
        name = f"{package['name']} {package['version']}"
        if package["name"] in denied:
            errors.append(f"{name}: deny.toml denies this crate")
        for feature in sorted(features.get(package["name"], set()) & set(node["features"])):
            errors.append(f"{name}: deny.toml denies its feature `{feature}`")
        if package["source"] is None:
            continue
        if package["source"] not in REGISTRIES:
            errors.append(f"{name}: comes from {package['source']}, and only crates.io is allowed")
        licence = package["license"]
        if not licence or not licence_is_allowed(licence, allowed | exceptions.get(package["name"], set())):
            errors.append(f"{name}: its licence {licence!r} is not allowed in deny.toml")
    for error in sorted(errors):
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
