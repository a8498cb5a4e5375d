"""Converts the accepted forms of a configuration into YAML texts and their names in messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ._errors import ConfigError

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""A path, YAML text (a string with a colon or a line break in it), or a mapping."""

Config: TypeAlias = Source | Sequence[Source]
"""One source, or several that are merged in their order: mappings key by key, everything else by the last value."""


def read(config: Config) -> list[tuple[str, str]]:
    """The texts, and their names, which are distinct."""
    sources: Sequence[Source]
    if isinstance(config, (str, os.PathLike, Mapping)):
        sources = [config]
    else:
        sources = config
    documents: list[tuple[str, str]] = []
    names: set[str] = set()
    for source in sources:
        text, name = _read_source(source)
        number = 2
        distinct = name
        while distinct in names:
            distinct, number = f"{name} ({number})", number + 1
        names.add(distinct)
        documents.append((text, distinct))
    if not documents:
        raise ConfigError("there is no configuration: the sequence is empty")
    return documents


def _read_source(config: Source) -> tuple[str, str]:
    """The text, and its name."""
    if isinstance(config, Mapping):
        # JSON is YAML; with a line for each key, the line numbers in messages are useful.
        return json.dumps(config, indent=2), "mapping"
    if isinstance(config, str) and (":" in config or "\n" in config):
        return config, "config.yaml"
    path = os.fspath(config)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(), path
    except OSError as error:
        hint = "; a string is YAML text if it has a colon or a line break, and else a path" if isinstance(config, str) else ""
        raise ConfigError(f"{path}: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
