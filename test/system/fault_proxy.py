#!/usr/bin/env python3
"""fault_proxy.py: an HTTP/1.1 proxy in front of a real S3 server that does harm on command.

    fault_proxy.py --upstream HOST:PORT [--host ADDRESS] [--listen PORT] [--control PORT] [--certificate PEM]

Prints one line of JSON when it is ready: {"listen": PORT, "control": PORT}. Ports default to free ones, all on 127.0.0.1 unless
an address is named.
With a certificate (a file with its key too) it speaks TLS with clients, and plain HTTP with the server.

Control, JSON over HTTP:
    PUT  /rules   [RULE, ...]   replaces the rules
    GET  /rules                 the rules, each with how often it was "applied"
    GET  /log                   requests since the last DELETE /log: method, path, status sent to the client, fault
    DELETE /log
    PUT  /down                  stop listening and cut every connection: what follows is refused
    PUT  /up                    listen again

A RULE is {"fault": NAME, ...}. Which requests: "method" (a name), "path" (a regular expression), "skip" (the first so many
matching ones go unharmed), "count" (how many are harmed, default all), "chance" (0 to 1). The first rule that matches and is
not used up applies. Faults:
    delay           forwards after "seconds"
    reset_request   cuts the connections after "bytes" of the request's body were forwarded
    reset_response  cuts the connection after "bytes" of the answer's body were sent
    stall_request   stops forwarding after "bytes" of the body, and says nothing for "seconds"
    stall_response  the same with the answer
    status          answers "status" with S3's error "code" itself, without forwarding; optional "retry_after", "date"
    swallow         forwards, reads the answer, and cuts the connection instead of giving it: the lost reply
    swallow_delay   the same, but lets the client wait for "seconds" first
    strip           forwards without the header "header", signed anew with "key" and "secret": a server that ignores it
    throttle        "bytes_per_s" in each direction
"""
import argparse
import asyncio
import hashlib
import hmac
import json
import random
import re
import socket
import ssl
import struct
import sys

CHUNK = 65536
HEAD_MAX = 256 * 1024


class Cut(Exception):
    """Ends both connections at once."""


class Rule:
    def __init__(self, spec):
        self.spec = spec
        self.fault = spec["fault"]
        self.path = re.compile(spec.get("path", ""))
        self.skip = spec.get("skip", 0)
        self.left = spec.get("count", float("inf"))
        self.applied = 0

    def takes(self, method, path):
        if self.spec.get("method", method) != method or not self.path.search(path) or self.left <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if random.random() >= self.spec.get("chance", 1):
            return False
        self.left -= 1
        self.applied += 1
        return True

    def get(self, name, default=0):
        return self.spec.get(name, default)


class Head:
    """The first line and the headers of a request or an answer."""

    def __init__(self, raw):
        self.first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line]

    def get(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def drop(self, name):
        self.headers = [(key, value) for key, value in self.headers if key.lower() != name.lower()]

    def raw(self):
        lines = [self.first] + [f"{key}: {value}" for key, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader):
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def body_pieces(reader, head, has_body=True):
    """The body's bytes as they are on the wire, chunk framing included."""
    if not has_body:
        return
    if (head.get("transfer-encoding") or "").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = int(head.get("content-length") or 0)
    while left > 0:
        piece = await reader.read(min(CHUNK, left))
        if not piece:
            raise Cut
        left -= len(piece)
        yield piece


async def relay(pieces, writer, rule, cut_fault, stall_fault):
    """Forwards a body, with what the rule does to it."""
    sent = 0
    limit = rule.get("bytes") if rule and rule.fault in (cut_fault, stall_fault) else None
    async for piece in pieces:
        if limit is not None and sent + len(piece) > limit:
            writer.write(piece[: limit - sent])
            await writer.drain()
            if rule.fault == stall_fault:
                await asyncio.sleep(rule.get("seconds", 3600))
            raise Cut
        writer.write(piece)
        await writer.drain()
        sent += len(piece)
        if rule and rule.fault == "throttle":
            await asyncio.sleep(len(piece) / rule.get("bytes_per_s", 1 << 20))
    if limit is not None:
        raise Cut


def reset(writer):
    """Closes with RST, as a crashed server does, and not with FIN."""
    sock = writer.get_extra_info("socket")
    if sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


def error_answer(rule, method):
    status = rule.get("status", 500)
    code = rule.get("code", "InternalError")
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>as told</Message></Error>'.encode()
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    for name, header in (("retry_after", "Retry-After"), ("date", "Date")):
        if name in rule.spec:
            head += f"{header}: {rule.spec[name]}\r\n"
    return head.encode() + b"\r\n" + (b"" if method == "HEAD" else body)


def sign_anew(head, key, secret):
    """Replaces the signature (AWS version 4) by that of the headers now there."""
    method, target, _ = head.first.split(" ", 2)
    path, _, query = target.partition("?")
    old = head.get("authorization")
    scope = re.search(r"Credential=[^/]+/([^,]+)", old).group(1)
    names = [name for name in re.search(r"SignedHeaders=([^,]+)", old).group(1).split(";") if head.get(name) is not None]
    lines = "".join(f"{name}:{head.get(name)}\n" for name in names)
    request = "\n".join([method, path, query, lines, ";".join(names), head.get("x-amz-content-sha256")])
    text = "\n".join(["AWS4-HMAC-SHA256", head.get("x-amz-date"), scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = ("AWS4" + secret).encode()
    for part in scope.split("/") + [text]:
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    head.drop("authorization")
    names = ";".join(names)
    value = f"AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={signature.hex()}"
    head.headers.append(("authorization", value))


class Proxy:
    def __init__(self, upstream, tls, host="127.0.0.1"):
        self.upstream = upstream
        self.host = host
        self.tls = tls
        self.rules = []
        self.log = []
        self.writers = set()
        self.server = None
        self.port = 0

    async def up(self):
        if not self.server:
            self.server = await asyncio.start_server(self.serve, self.host, self.port, limit=HEAD_MAX, ssl=self.tls)
            self.port = self.server.sockets[0].getsockname()[1]

    async def down(self):
        if self.server:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            reset(writer)

    def choose(self, method, path):
        return next((rule for rule in self.rules if rule.takes(method, path)), None)

    async def serve(self, reader, writer):
        upstream = None
        self.writers.add(writer)
        try:
            while head := await read_head(reader):
                if upstream is None:
                    upstream = await asyncio.open_connection(*self.upstream, limit=HEAD_MAX)
                await self.exchange(head, reader, writer, *upstream)
        except (Cut, ConnectionError, asyncio.IncompleteReadError, OSError):
            reset(writer)
        finally:
            self.writers.discard(writer)
            writer.close()
            if upstream:
                upstream[1].transport.abort()

    async def exchange(self, head, reader, writer, up_reader, up_writer):
        method, path, _ = head.first.split(" ", 2)
        rule = self.choose(method, path)
        fault = rule.fault if rule else None
        entry = {"method": method, "path": path, "status": 0, "fault": fault}
        self.log.append(entry)
        if fault == "status":
            async for _ in body_pieces(reader, head):
                pass
            entry["status"] = rule.get("status", 500)
            writer.write(error_answer(rule, method))
            await writer.drain()
            return
        if fault == "delay":
            await asyncio.sleep(rule.get("seconds", 1))
        if fault == "strip":
            head.drop(rule.get("header"))
            sign_anew(head, rule.get("key"), rule.get("secret"))
        up_writer.write(head.raw())
        await relay(body_pieces(reader, head), up_writer, rule, "reset_request", "stall_request")
        answer = await read_head(up_reader)
        while answer and answer.first.split(" ", 2)[1] == "100":
            answer = await read_head(up_reader)
        if not answer:
            raise Cut
        status = int(answer.first.split(" ", 2)[1])
        pieces = body_pieces(up_reader, answer, method != "HEAD" and status not in (204, 304))
        if fault in ("swallow", "swallow_delay"):
            async for _ in pieces:
                pass
            entry["swallowed"] = status
            if fault == "swallow_delay":
                await asyncio.sleep(rule.get("seconds", 1))
            raise Cut
        entry["status"] = status
        writer.write(answer.raw())
        await relay(pieces, writer, rule, "reset_response", "stall_response")
        await writer.drain()


class Control:
    def __init__(self, proxy):
        self.proxy = proxy

    async def serve(self, reader, writer):
        head = await read_head(reader)
        if head:
            body = b"".join([piece async for piece in body_pieces(reader, head)])
            method, path, _ = head.first.split(" ", 2)
            try:
                status, answer = 200, await self.command(method, path, body)
            except (KeyError, TypeError, ValueError, re.error) as error:
                status, answer = 400, {"error": str(error)}
            raw = json.dumps(answer).encode()
            writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw)
            await writer.drain()
        writer.close()

    async def command(self, method, path, body):
        proxy = self.proxy
        if (method, path) == ("PUT", "/rules"):
            proxy.rules = [Rule(spec) for spec in json.loads(body or b"[]")]
        elif (method, path) == ("GET", "/rules"):
            return [{**rule.spec, "applied": rule.applied} for rule in proxy.rules]
        elif (method, path) == ("GET", "/log"):
            return proxy.log
        elif (method, path) == ("DELETE", "/log"):
            proxy.log = []
        elif (method, path) == ("PUT", "/down"):
            await proxy.down()
        elif (method, path) == ("PUT", "/up"):
            await proxy.up()
        else:
            raise ValueError(f"no such command: {method} {path}")
        return {}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--listen", type=int, default=0, metavar="PORT")
    parser.add_argument("--control", type=int, default=0, metavar="PORT")
    parser.add_argument("--certificate", metavar="PEM")
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    host, port = options.upstream.removeprefix("http://").rstrip("/").rsplit(":", 1)
    proxy = Proxy((host, int(port)), tls, options.host)
    proxy.port = options.listen
    await proxy.up()
    control = await asyncio.start_server(Control(proxy).serve, options.host, options.control, limit=HEAD_MAX)
    print(json.dumps({"listen": proxy.port, "control": control.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
