"""Fails if a WebAssembly module given as an argument imports anything."""

import sys
from pathlib import Path


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def imports(data: bytes) -> list[str]:
    """`module.name` of each import."""
    assert data[:8] == b"\0asm\1\0\0\0", "not a WebAssembly module of version 1"
    at = 8
    while at < len(data):
        section = data[at]
        size, at = leb128(data, at + 1)
        if section != 2:
            at += size
            continue
        count, at = leb128(data, at)
        names = []
        for _ in range(count):
            texts = []
            for _ in range(2):
                length, at = leb128(data, at)
                texts.append(data[at : at + length].decode())
                at += length
            names.append(".".join(texts))
            kind = data[at]
            at += 1
            if kind == 0:
                _, at = leb128(data, at)
            elif kind == 3:
                at += 2
            else:
                # A table has its element type before the limits, a memory does not.
                at += kind == 1
                flags, at = leb128(data, at)
                for _ in range(1 + (flags & 1)):
                    _, at = leb128(data, at)
        return names
    return []


failed = False
for path in map(Path, sys.argv[1:]):
    names = imports(path.read_bytes())
    if names:
        failed = True
        print(f"error: {path.name} imports {', '.join(names)}", file=sys.stderr)
sys.exit(failed)
