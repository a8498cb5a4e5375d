"""Checks the documentation with the collector itself. Prints what is wrong, one line each, and ends with 1 if anything is.

- Links of every Markdown file of the repository lead to a file and to one of its headings.
- Configurations in the pages of the manual pass `otelcore validate`; of a part of a configuration every key is known.
- Keys that a sentence names (`sending_queue::storage`) are those of some component.
- Commands name commands and flags that exist, scripts and folders that are there."""

import difflib
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pages
from pages import DOCS, ROOT, relative

OTELCORE = os.environ.get("OTELCORE_BIN", "otelcore")
SECTIONS = ("receivers", "processors", "exporters", "connectors", "extensions", "service")
# Of these documents of the root, and of all in docs/, blocks and keys are checked as well as links.
ROOT_DOCUMENTS = ("README.md", "SECURITY.md", "DIFFERENCES.md", "deploy/README.md", "bindings/python/README.md")


def run(*args, **options):
    return subprocess.run([OTELCORE, *args], capture_output=True, text=True, timeout=60, **options)


@functools.cache
def help_text(*command):
    return run(*command, "--help").stdout


@functools.cache
def commands():
    lines = help_text().split("\n")
    start = next(i for i, line in enumerate(lines) if line.rstrip().endswith("ommands:"))
    return {line.split()[0] for line in lines[start + 1:] if line.startswith("  ") and line.split()}


@functools.cache
def flags(*command):
    text = help_text(*command)
    return set(re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", text)) | {"--help", "-h"}


@functools.cache
def known_keys():
    """Every key that some component or the service has, and names of components and signals."""
    keys = set(SECTIONS) | {"traces", "metrics", "logs", "profiles"}

    def walk(node):
        if isinstance(node, dict):
            for name, value in node.items():
                if name in ("properties", "patternProperties") and isinstance(value, dict):
                    keys.update(value)
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    schema = json.loads(run("components", "--schema=config").stdout)
    walk(schema)
    for kind in json.loads(run("components", "--schema").stdout).values():
        keys.update(kind)
        walk(kind)
    # Old keys and refused ones are in the reference, which the declarations write.
    for page in (DOCS / "reference").rglob("*.md"):
        for path in re.findall(r"^\| `([^`]+)` \|", page.read_text(), re.M):
            keys.update(part.rstrip("[]") for part in path.split("::"))
    return keys


def check_links(page, text, report):
    for line, _, target in pages.links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            report(line, f"{target} is not there")
        elif anchor and file.suffix == ".md" and anchor not in pages.anchors(file.read_text()):
            near = difflib.get_close_matches(anchor, pages.anchors(file.read_text()), 1)
            report(line, f"{target}: no heading has this anchor" + (f"; {near[0]}?" if near else ""))


def top_keys(text):
    return re.findall(r"^([A-Za-z_][\w./-]*):", text, re.M)


def check_yaml(text, folder, line, report):
    """A configuration, a part of one, a manifest, or keys of a component."""
    keys = top_keys(text)
    if "apiVersion" in keys:
        if re.search(r"^kind: (ConfigMap|OpenTelemetryCollector|Deployment|DaemonSet)", text, re.M):
            validate(["validate", f"--config=k8s:{write(text, folder)}"], r"", line, report)
        return
    if not keys:
        return
    if not set(keys) & set(SECTIONS):
        for match in re.finditer(r"^\s*(?:- )?([a-z][\w]*):(?:\s|$)", text, re.M):
            if match.group(1) not in known_keys():
                report(line + text[: match.start(1)].count("\n"), f"the key {match.group(1)} is unknown")
        return
    path = write(text, folder)
    if "receivers" in keys and "exporters" in keys and re.search(r"^service:", text, re.M) and "pipelines" in text:
        validate(["validate", f"--config={path}"], r"", line, report)
    else:
        # A part: what is missing in it is not wrong, a key that does not exist is.
        validate(["validate", f"--config={path}"], r"\[OC10[237]\]", line, report)


def write(text, folder):
    path = Path(folder) / "config.yaml"
    # The source and the destination in a host program; the binary has neither.
    path.write_text(re.sub(r"\binproc(/\w+)?\b", "nop", text))
    return path


def validate(args, pattern, line, report):
    result = run(*args, env={**os.environ, **VARIABLES})
    if result.returncode == 0:
        return
    errors = [text for text in result.stderr.splitlines() if text.startswith("error") and re.search(pattern, text)]
    for error in errors:
        report(line, error)
    if not errors and not pattern:
        report(line, result.stderr.strip().split("\n")[0])


# What examples take from their environment.
VARIABLES = {
    name: "placeholder"
    for name in ("GATEWAY_ENDPOINT", "BACKEND_ENDPOINT", "GATEWAY_TOKEN", "TOKEN", "NODE_NAME", "POD_IP", "JAEGER_ENDPOINT")
}
for _endpoint in ("GATEWAY_ENDPOINT", "BACKEND_ENDPOINT", "JAEGER_ENDPOINT"):
    VARIABLES[_endpoint] = "gateway.example:4317"


def check_command(line_text, report):
    line_text = re.sub(r"^\$ ", "", line_text.strip())
    try:
        words = shlex.split(line_text, comments=True)
    except ValueError:
        return
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return
    name = words[0]
    if name.startswith("scripts/") and not (ROOT / name).is_file():
        report(f"{name} is not there")
    if words[:3] == ["kubectl", "apply", "-k"] and not any((base / words[3]).is_dir() for base in (ROOT, ROOT / "deploy")):
        report(f"the folder {words[3]} is not there")
    if name not in ("otelcore", "otelcol"):
        return
    rest, command = words[1:], ()
    if rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        if rest[0] not in commands():
            report(f"otelcore has no command {rest[0]}")
            return
        command = (rest[0],)
        rest = rest[1:]
    for word in rest:
        if word in (">", ">>", "|", "&", "&&", ";"):
            break
        flag = word.split("=")[0]
        if re.fullmatch(r"--?[a-z][\w-]*", flag) and flag not in flags(*command):
            report(f"otelcore {' '.join(command)} has no flag {flag}")


def check_blocks(page, text, folder, report):
    _, blocks = pages.split(text)
    for block in blocks:
        file = pages.included(block)
        if file is not None:
            if not file.is_file():
                report(block.line, f"{relative(file)} is not there")
            elif file.suffix in (".yaml", ".yml"):
                check_yaml(file.read_text(), folder, block.line, report)
        elif block.language.split(" ")[0] in ("yaml", "yml"):
            check_yaml(block.text, folder, block.line, report)
        elif block.language.split(" ")[0] in ("sh", "console", "bash", "shell"):
            # A line that ends in a backslash goes on in the next one.
            for offset, line in enumerate(block.text.replace("\\\n", " ").split("\n")):
                check_command(line, lambda problem, at=block.line + offset: report(at, problem))


def check_sentences(page, text, report):
    plain, _ = pages.split(text)
    for number, line in enumerate(plain.split("\n"), 1):
        for code in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"otelcore( [\w-]+)?( --[\w-]+\S*| [A-Z]+)*", code):
                check_command(code, lambda problem: report(number, problem))
            if not re.fullmatch(r"[a-z][\w/.]*(\[\])?(::[a-z_][\w/.]*(\[\])?)+", code):
                continue
            # A path of Rust or C++.
            if code.startswith(("otelcore_", "std::")):
                continue
            for part in code.split("::"):
                name = part.rstrip("[]").split("/")[0]
                if name not in known_keys():
                    near = difflib.get_close_matches(name, known_keys(), 1)
                    report(number, f"`{code}`: {name} is no key" + (f"; {near[0]}?" if near else ""))


def main():
    problems, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for page in pages.repository_pages():
            text, name = page.read_text(), relative(page)
            report = lambda line, problem: problems.append(f"{name}:{line}: {problem}")
            check_links(page, text, report)
            count += 1
            generated = name.startswith(("docs/reference/", "docs/from-go/"))
            if (name.startswith("docs/") or name in ROOT_DOCUMENTS) and not generated:
                check_blocks(page, text, folder, report)
                if not name.endswith("adding-a-component.md"):
                    check_sentences(page, text, report)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"check-docs: {count} pages, {len(problems)} problems", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
