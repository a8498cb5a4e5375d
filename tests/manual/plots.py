"""Draws the plots of docs/performance.md from the tables of benches/README.md, as the benches print them: `plots.py` writes
docs/pictures/*.svg, `plots.py --check` fails where one of them is not what the tables say.

A picture needs no script and no font of its own, has a title and a text for readers that can't see it, and has the colours of
the page's scheme."""

import html
import sys

from pages import DOCS, ROOT

TABLES = ROOT / "benches" / "README.md"
PICTURES = DOCS / "pictures"
WIDTH, LABEL, BAR, GAP = 760, 250, 16, 12
STYLE = (
    ":root{color-scheme:light dark}"
    "text{font:13px system-ui,sans-serif;fill:#1c2330}.dim{fill:#566074}.title{font-weight:600;font-size:15px}"
    ".ours{fill:#1f5fbf}.go{fill:#b4552d}.other{fill:#7a869a}.grid{stroke:#c9d0dc}"
    "@media (prefers-color-scheme:dark){text{fill:#e6eaf2}.dim{fill:#a4aec0}.ours{fill:#8ab4f8}.go{fill:#f0b072}"
    ".other{fill:#7f8aa0}.grid{stroke:#3a4454}}"
)


def tables():
    """Each table of the last results, as a list of rows by the names of its columns."""
    found, columns = [], None
    for line in TABLES.read_text().splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]
        if columns is None:
            columns = cells
            found.append([])
        elif not set("".join(cells)) <= set("-: "):
            found[-1].append(dict(zip(columns, cells)))
    return found


def rows_of(column, *needed):
    """The rows of all tables that have these columns."""
    return [row for table in tables() for row in table if all(name in row for name in (column, *needed))]


def number(text):
    try:
        return float(text.replace(",", "").split(" ")[0])
    except ValueError:
        return None


def program_class(program):
    return "ours" if program.startswith("otelcore") else "go" if program.startswith("Go") else "other"


def ticks(top):
    """Round values from 0 to the largest bar, at most seven."""
    size = 10.0 ** (len(str(int(top))) - 2)
    step = next(size * factor for factor in (1, 2, 5, 10, 20, 50) if top / (size * factor) <= 6)
    return [step * count for count in range(int(top / step) + 1)]


def bars(title, unit, groups):
    """A picture of horizontal bars: a group for each row, a bar for each program."""
    top = max(value for _, bars_ in groups for _, value in bars_)
    scale = (WIDTH - LABEL - 90) / top
    y, body = 74, []
    for name, bars_ in groups:
        body.append(f'<text x="0" y="{y + 12}">{html.escape(name)}</text>')
        for program, value in bars_:
            length = max(1.5, value * scale)
            text = f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
            body.append(f'<text class="dim" text-anchor="end" x="{LABEL - 8}" y="{y + 12}">{html.escape(program)}</text>')
            body.append(f'<rect class="{program_class(program)}" x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
            body.append(f'<text x="{LABEL + length + 6:.1f}" y="{y + 12}">{text}</text>')
            y += BAR + 4
        y += GAP
    grid = []
    for value in ticks(top):
        x = LABEL + value * scale
        grid.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="64" y2="{y - GAP}"/>')
        grid.append(f'<text class="dim" text-anchor="middle" x="{x:.1f}" y="58">{value:,.10g}</text>')
    said = "; ".join(f"{name}: " + ", ".join(f"{program} {value:g}" for program, value in bars_) for name, bars_ in groups)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title description" viewBox="0 0 {WIDTH} {y}">\n'
        f'<title id="title">{html.escape(title)} ({html.escape(unit)})</title>\n'
        f'<desc id="description">{html.escape(said)}</desc>\n<style>{STYLE}</style>\n'
        f'<text class="title" x="0" y="18">{html.escape(title)}</text><text class="dim" x="0" y="38">{html.escape(unit)}</text>\n'
        + "\n".join(grid + body)
        + "\n</svg>\n"
    )


def grouped(rows, column, names, programs=None):
    groups = []
    for row_name, label in names:
        of = [
            (row["program"], number(row[column]))
            for row in rows
            if row["row"] == row_name and number(row[column]) is not None and (programs is None or row["program"] in programs)
        ]
        if not of:
            raise SystemExit(f"plots: benches/README.md has no row {row_name} with {column}")
        groups.append((label, of))
    return groups


def pictures():
    both = ("otelcore", "Go 0.155", "Go 0.85")
    # A processor's table has other columns than that of the transport, so that each row is in one of them.
    transport = rows_of("CPU s per M items", "to the floor")
    processors = rows_of("CPU s per M items", "passed on %")
    cpu = "CPU seconds for a million items; less is better"
    pipelines = [
        ("forward-grpc-none-batch", "OTLP over gRPC"),
        ("forward-http-none-batch", "OTLP over HTTP"),
        ("forward-grpc-gzip", "the same with gzip, gRPC"),
        ("forward-http-zstd", "the same with zstd, HTTP"),
        ("jaeger-100", "OTLP to Jaeger"),
        ("prometheus-100", "OTLP to Prometheus"),
        ("nop-100", "OTLP, received only"),
    ]
    tail = [row for row in rows_of("MB with 100,008 traces")]
    durable = rows_of("spans/s", "clients")
    return {
        "cpu-pipelines.svg": bars("Pipelines", cpu, grouped(transport, "CPU s per M items", pipelines, both)),
        "cpu-processors.svg": bars(
            "Processors and connectors",
            cpu,
            grouped(
                processors,
                "CPU s per M items",
                [
                    ("attributes-insert", "attributes: insert"),
                    ("transform-set", "transform: set"),
                    ("transform-replace-pattern", "transform: a pattern"),
                    ("filter-95", "filter: 95 % dropped"),
                    ("span_metrics", "span_metrics"),
                    ("tail-sampling", "tail_sampling"),
                ],
            ),
        ),
        "memory.svg": bars(
            "Memory at its peak under load",
            "MB; less is better",
            grouped(transport, "peak MB", pipelines, both)
            + [("100,000 traces wait", [(row["program"], number(row["MB with 100,008 traces"])) for row in tail])],
        ),
        "start.svg": bars(
            "From the start to an open port",
            "milliseconds; less is better",
            grouped(transport, "listening ms", [("nop-100", "OTLP, received only"), ("jaeger-100", "OTLP to Jaeger")], both),
        ),
        "durable.svg": bars(
            "Spans on disk before the answer",
            "spans a second; more is better",
            [
                (f"{clients} client" + ("s" if clients != "1" else ""), [
                    (row["program"], number(row["spans/s"])) for row in durable if row["clients"] == clients
                ])
                for clients in ("1", "10", "100")
            ],
        ),
    }


def main():
    wrong = []
    for name, picture in pictures().items():
        path = PICTURES / name
        if "--check" in sys.argv[1:]:
            if not path.is_file() or path.read_text() != picture:
                wrong.append(name)
        else:
            path.write_text(picture)
    for name in wrong:
        print(f"docs/pictures/{name} is not what benches/README.md says: python3 tests/manual/plots.py", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
