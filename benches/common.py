"""What the benches in Python share: telemetry in protobuf, and what a process has used."""
import os, random, re, urllib.request


def varint(n):
    out = bytearray()
    while True:
        out.append(n & 0x7F | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(number, key, value):
    """An attribute with a text."""
    return field(number, field(1, key) + field(2, field(1, value)))


def spans(count):
    """A request of spans of ten attributes, some 550 bytes each."""
    chance = random.Random(1)
    text = lambda size: bytes(chance.choice(b"0123456789abcdef") for _ in range(size))
    span = lambda: field(1, chance.randbytes(16)) + field(2, chance.randbytes(8)) + field(5, b"GET /a/path") + b"".join(
        attribute(9, b"attribute.%d" % i, text(24)) for i in range(10))
    return field(1, field(2, b"".join(field(2, span()) for _ in range(count))))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) / 1024


def metric(port, name):
    """The sum over all series of a family of a collector's own metrics; `name` is a pattern."""
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    except OSError:
        return 0
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if re.match(name + r"(_total)?[{ ]", line))
