"""Our storage server against the storage classes of the real Tahoe-LAFS 1.20, one after the other on one disk.

    cargo build --release -p storage --examples
    VENV/bin/python core/storage/benches/against_tahoe.py target/release/examples [DIR]

VENV is one that holds tahoe-lafs (scenarios/fixtures/tahoe_venv.sh prints its folder). Three jobs: shares of 1000 bytes are
allocated, written and closed; the lease of every share is renewed; every share is looked at by the crawler. Ours runs each
with many clients at a time, which is what a server has, and makes everything durable before it answers (`full`), or the
lease database some time later (`normal`). The real server makes nothing durable and has one thread.

The last column is what `examples/calls.rs` reaches, which makes only the system calls of each job, by whole paths, on every
core. What a server can reach here is not far from that, at best.
"""

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import task

from allmydata.storage.common import si_b2a
from allmydata.storage.expirer import LeaseCheckingCrawler
from allmydata.storage.server import StorageServer

EXAMPLES = Path(sys.argv[1])
UPLOADS, SHARES, BYTES, CLIENTS = 10_000, 100_000, 1000, 256
RENEW, CANCEL = b"\1" * 32, b"\2" * 32


def main():
    with tempfile.TemporaryDirectory(prefix="against-tahoe-", dir=sys.argv[2] if len(sys.argv) > 2 else None) as base:
        base = Path(base)
        theirs = {"upload": their_uploads(base / "their-uploads")}
        theirs.update(their_renewals_and_crawl(base / "theirs"))
        calls = {}
        for words in ("upload", base / "calls", UPLOADS, BYTES), ("renew", base / "theirs"), ("crawl", base / "theirs"):
            [calls[words[0]]] = run("calls", *words)
        print(f"{'':20}{'theirs':>10}{'ours':>12}{'':10}{'calls alone':>14}")
        for sync in ("full", "normal"):
            [upload] = run("throughput", "upload", base / f"uploads-{sync}", UPLOADS, BYTES, CLIENTS, sync)
            compare("upload", sync, theirs, upload, calls)
            store = base / f"ours-{sync}"
            plant(store)
            new, crawl = run("throughput", "crawl", store, sync)
            compare("crawl", f"{sync}, all new", theirs, new, calls)
            compare("crawl", sync, theirs, crawl, calls)
            [renew] = run("throughput", "renew", store, CLIENTS, sync)
            compare("renew", sync, theirs, renew, calls)


def compare(what, how, theirs, ours, calls):
    count, seconds, grown = theirs[what]
    there, here, bound = (count / seconds for count, seconds in (
        (count, seconds), (ours["count"], ours["seconds"]), (calls[what]["count"], calls[what]["seconds"])))
    print(f"{what:8}{how:16}{there:>8,.0f}/s{here:>10,.0f}/s{here / there:>7.1f}x{bound:>10,.0f}/s{bound / there:>6.1f}x"
          f"   memory +{ours['peak_grown_kib'] / 1024:.1f} MiB, theirs +{grown / 1024:.1f}", flush=True)


def run(example, *words):
    done = subprocess.run([EXAMPLES / example, *map(str, words)], stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- theirs -----------------------------------------------------------------------------------------


def their_uploads(root):
    server = their_server(root)
    start, before, data = time.monotonic(), peak_kib(), b"x" * BYTES
    for number in range(UPLOADS):
        _, writers = server.allocate_buckets(index(number), RENEW, CANCEL, {0}, BYTES)
        writers[0].write(0, data)
        writers[0].close()
    return UPLOADS, time.monotonic() - start, peak_kib() - before


def their_renewals_and_crawl(root):
    plant(root)
    server = their_server(root)
    start, before = time.monotonic(), peak_kib()
    crawler = LeaseCheckingCrawler(
        server, str(root / "state"), str(root / "history"), True, "age", None, None, ("mutable", "immutable"))
    crawler.cpu_slice = 10**6
    crawler.load_state()
    crawler.start_current_prefix(time.time())
    crawled = SHARES, time.monotonic() - start, peak_kib() - before
    start, before = time.monotonic(), peak_kib()
    for number in range(SHARES):
        server.add_lease(index(number), RENEW, CANCEL)
    return {"crawl": crawled, "renew": (SHARES, time.monotonic() - start, peak_kib() - before)}


def their_server(root):
    return StorageServer(str(root), bytes(20), clock=StandingTimers())


class StandingTimers(task.Clock):
    """The time of day, and timers that never run."""

    def seconds(self):
        return time.time()


# --- both -------------------------------------------------------------------------------------------


def plant(root):
    """Shares as the real server makes them, with a lease that is a day old."""
    from hashlib import blake2b
    stored = [blake2b(secret, digest_size=32).digest() for secret in (RENEW, CANCEL)]
    lease = struct.pack(">L32s32sL", 0, *stored, int(time.time()) + 30 * 86400)
    container = struct.pack(">LLL", 2, BYTES, 1) + b"x" * BYTES + lease
    for number in range(SHARES):
        name = si_b2a(index(number)).decode()
        shareset = root / "shares" / name[:2] / name
        shareset.mkdir(parents=True)
        (shareset / "0").write_bytes(container)


def index(number):
    """The n-th storage index, the same as in throughput.rs."""
    return struct.pack(">QQ", number * 0x9E3779B97F4A7C15 % 2**64, number)


def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


main()
