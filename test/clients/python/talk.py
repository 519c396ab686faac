"""talk.py: how the Python clients talk with the tests: records as lines (line.py), and what a group's member says (members.py)."""
import base64
import sys
import threading


def decode(word):
    return None if word == "-" else base64.b64decode(word[1:])


def encode(data):
    return "-" if data is None else "=" + base64.b64encode(data).decode()


def records():
    """(key, value, timestamp, headers) of every line that comes in."""
    for line in sys.stdin:
        key, value, timestamp, headers = line.split()
        pairs = [] if headers == "-" else [pair.split(":") for pair in headers.split(",")]
        yield decode(key), decode(value), int(timestamp), [(decode(name).decode(), decode(data)) for name, data in pairs]


def tell_record(offset, key, value, timestamp, headers):
    joined = ",".join(f"{encode(name.encode())}:{encode(data)}" for name, data in headers or []) or "-"
    print(offset, encode(key), encode(value), timestamp, joined)


def tell_assigned(partitions):
    print("assigned " + ",".join(str(partition) for partition in sorted(partitions)), flush=True)


def tell_received(partition, offset, value):
    print("record", partition, offset, encode(value), flush=True)


def order_to_leave():
    """An event that is set when standard input ends."""
    event = threading.Event()

    def wait():
        sys.stdin.read()
        event.set()
    threading.Thread(target=wait, daemon=True).start()
    return event
