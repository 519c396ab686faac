"""faulty_store.py: a bucket of the real S3 server, reached through fault_proxy.py, which does harm on command."""
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from stack import S3Store

PROXY = Path(__file__).parent / "fault_proxy.py"


class FaultyStore(S3Store):
    """An S3Store whose agents come through a proxy of its own; a test looks into the bucket past it."""

    def __init__(self, server):
        super().__init__(server)
        self.process = subprocess.Popen([sys.executable, str(PROXY), "--upstream", server.endpoint],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        ports = json.loads(self.process.stdout.readline())
        self.control = f"http://127.0.0.1:{ports['control']}"
        self.flags = [f"--s3-endpoint=http://127.0.0.1:{ports['listen']}"]

    def command(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.control + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def harm(self, *rules):
        """From now on these rules hold, and no others; see fault_proxy.py."""
        self.command("PUT", "/rules", list(rules))

    def down(self):
        self.command("PUT", "/down", [])

    def up(self):
        self.command("PUT", "/up", [])

    def heal(self):
        self.harm()

    def close(self):
        self.process.kill()
        self.process.wait()
        super().close()
