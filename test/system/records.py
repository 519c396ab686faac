"""records.py: what the tests send, and what it looks like when it comes back."""
import random
from typing import NamedTuple, Optional, Tuple

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
BASE_TIMESTAMP = 1_700_000_000_000


class Record(NamedTuple):
    """A record as a client sees it; headers are (name, bytes or None) in order."""

    key: Optional[bytes]
    value: Optional[bytes]
    headers: Tuple = ()
    timestamp: int = BASE_TIMESTAMP


def noise(size, seed):
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def words(size, seed):
    """Bytes that compress well."""
    chooser = random.Random(seed)
    text = b"".join(chooser.choice((b"stream", b"house", b" ", b"\n", b"\x00")) for _ in range(size // 2 + 1))
    return text[:size]


def sizes():
    """Values from nothing to large, around the edges where a length needs another byte."""
    edges = [0, 1, 2, 10, 63, 64, 65, 127, 128, 8191, 8192, 8193, 65535, 65536, 100_000]
    return [Record(b"size-%d" % size, noise(size, size), timestamp=BASE_TIMESTAMP + size) for size in edges]


def oddities():
    """Nulls, empties, headers and timestamps in every combination that has been lost by somebody before."""
    headers = [
        (),
        (("one", b"1"),),
        (("null", None), ("empty", b""), ("twice", b"a"), ("twice", b"b")),
        (("ünïcode ☃", "wörld".encode()), ("bytes", bytes(range(256)))),
        tuple((f"h{number}", noise(number, number)) for number in range(70)),
    ]
    found = []
    for key in (None, b"", b"key", bytes(range(256))):
        for value in (None, b"", b"value", words(5000, 1)):
            for some in headers:
                found.append(Record(key, value, some, BASE_TIMESTAMP + 7919 * len(found) % 100_000))
    return found


def plain(count, size=100, seed=0):
    """Many records, every value unique."""
    return [Record(b"k%d" % (number % 97), b"%d:%d:" % (seed, number) + words(size, number), timestamp=BASE_TIMESTAMP + number)
            for number in range(count)]
