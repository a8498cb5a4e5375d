"""Compares instruction counts with a table, or writes it. For scripts/instructions.

usage: compare_instructions.py FOLDER TABLE [--record]

FOLDER has `features` (names of CPU features), `names` (one entry a line) and `counts.1`, `counts.2`, ... (callgrind's
files, one for each entry).
"""

import re
import sys
from pathlib import Path

# More instructions than this are an error; a table may give a row a tolerance of its own.
TOLERANCE = 0.03
# These are in C: their code depends on the C compiler of the machine.
TOLERANCE_IN_C = 0.15


def counted(folder: Path) -> dict[str, int]:
    """The counts by entry."""
    counts = {}
    for number, name in enumerate((folder / "names").read_text().split(), start=1):
        found = re.search(r"^(?:summary|totals): (\d+)", (folder / f"counts.{number}").read_text(), re.MULTILINE)
        if not found or found[1] == "0":
            sys.exit(f"error: callgrind counted nothing for {name}: is the function `measured` inlined?")
        counts[name] = int(found[1])
    return counts


def read_table(path: Path) -> tuple[str, dict[str, tuple[int, float]]]:
    """The CPU features, and counts with tolerances."""
    features, rows = "", {}
    for line in path.read_text().splitlines():
        if line.startswith("# CPU features: "):
            features = line.removeprefix("# CPU features: ")
        elif line and not line.startswith("#"):
            name, count, tolerance = line.split("\t")
            rows[name] = (int(count), float(tolerance.removesuffix("%")) / 100)
    return features, rows


def write_table(path: Path, features: str, counts: dict[str, int]) -> None:
    lines = [
        "# Instructions of each machine, by callgrind: name, count, tolerance. `scripts/instructions --record` writes this file.",
        f"# CPU features: {features}",
    ]
    for name, count in counts.items():
        tolerance = TOLERANCE_IN_C if name.startswith("zstd-") else TOLERANCE
        lines.append(f"{name}\t{count}\t{tolerance:.0%}")
    path.write_text("\n".join(lines) + "\n")


def main() -> int:
    folder, table = Path(sys.argv[1]), Path(sys.argv[2])
    features, counts = (folder / "features").read_text().strip(), counted(folder)
    recorded_features, rows = read_table(table) if table.exists() else (features, {})
    recording = "--record" in sys.argv[3:]
    if recording:
        write_table(table, features, counts)
    elif features != recorded_features:
        print(f"skipped: the table is for a CPU with {recorded_features}, and this one has {features}")
        return 0
    failed = False
    print(f"{'instructions':>24} {'count':>12} {'table':>12} {'difference':>10}")
    for name, count in counts.items():
        before, tolerance = rows.get(name, (0, 0.0))
        change = count / before - 1 if before else 0.0
        note = ""
        if not before:
            note = "new"
        elif change > tolerance:
            note = f"above the tolerance of {tolerance:.0%}"
        elif change < -tolerance:
            note = "fewer: record it, so that it stays so"
        failed |= not before or change > tolerance
        print(f"{name:>24} {count:>12} {before:>12} {change:>+10.2%} {note}".rstrip())
    for name in rows.keys() - counts.keys():
        failed = True
        print(f"{name:>24} is in the table and was not counted")
    if failed and not recording:
        print(
            "error: the table does not allow these counts. If they are meant, `scripts/instructions --record` writes them; "
            "say why in the commit.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
