"""Converts the accepted forms of a configuration into YAML text and its name in messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from ._errors import ConfigError

Config: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""A path, YAML text (a string with a colon or a line break in it), or a mapping."""


def read(config: Config) -> tuple[str, str]:
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
