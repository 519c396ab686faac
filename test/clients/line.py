"""line.py: records as lines of text, for programs in any language: KEY VALUE TIMESTAMP HEADERS.

Bytes are "=" and their base64, null is "-"; headers are name:bytes, joined by commas, or "-". Consumers put the offset in front.
"""
import base64

from records import Record


def encode_bytes(data):
    return "-" if data is None else "=" + base64.b64encode(data).decode()


def decode_bytes(word):
    return None if word == "-" else base64.b64decode(word[1:])


def encode(record):
    headers = ",".join(f"{encode_bytes(name.encode())}:{encode_bytes(value)}" for name, value in record.headers) or "-"
    return f"{encode_bytes(record.key)} {encode_bytes(record.value)} {record.timestamp} {headers}"


def decode_headers(word):
    if word == "-":
        return ()
    pairs = (pair.split(":") for pair in word.split(","))
    return tuple((decode_bytes(name).decode(), decode_bytes(value)) for name, value in pairs)


def decode(line):
    """(offset, Record) of a consumer's line."""
    offset, key, value, timestamp, headers = line.split(" ")
    return int(offset), Record(decode_bytes(key), decode_bytes(value), decode_headers(headers), int(timestamp))
