"""Containers: ours and the released Tahoe-LAFS read, lease and expire what the other wrote: interop_containers.py OURS

Calls the real server's storage classes directly, and our backend and our directory through `containers`, an example of the
storage crate. Prints a line for each thing that held; the first that does not ends the run with exit status 1.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import task

from allmydata.storage.common import si_a2b, si_b2a
from allmydata.storage.expirer import LeaseCheckingCrawler
from allmydata.storage.immutable import ShareFile
from allmydata.storage.immutable_schema import schema_from_version as immutable_schema
from allmydata.storage.lease import LeaseInfo
from allmydata.storage.mutable import MutableShareFile
from allmydata.storage.mutable_schema import ALL_SCHEMAS as MUTABLE_SCHEMAS
from allmydata.storage.server import StorageServer
from allmydata.util.hashutil import (
    bucket_cancel_secret_hash, bucket_renewal_secret_hash, file_cancel_secret_hash, file_renewal_secret_hash,
    my_cancel_secret_hash, my_renewal_secret_hash)

OURS = sys.argv[1]
MONTH = 31 * 86400
NODE = bytes(range(20))
ENABLER = b"E" * 32
DATA = bytes(i * 7 % 251 for i in range(1000))
NOW = int(time.time())
VERSIONS = [1, 2]


def main():
    for version in VERSIONS:
        with_directory(lambda place: their_immutable(place, version))
        with_directory(lambda place: their_mutable(place, version))
    with_directory(our_immutable)
    with_directory(our_mutable)
    for kind in ("immutable", "mutable"):
        for version in VERSIONS:
            with_directory(lambda place: we_expire(place, kind, version))
        with_directory(lambda place: they_expire(place, kind))
    with_directory(with_a_running_server)


# --- what they wrote --------------------------------------------------------------------------------


def their_immutable(place, version):
    share = place.share(0)
    theirs = ShareFile(str(share), max_size=len(DATA), create=True, schema=immutable_schema(version))
    theirs.write_share_data(0, DATA)
    for number in (1, 2):
        ShareFile(str(share)).add_or_renew_lease(10**9, lease(place, number, NOW + 100))
    read_and_leased(place, f"immutable, version {version}", lambda: ShareFile(str(share)), "Immutable")


def their_mutable(place, version):
    share = place.share(0)
    share.parent.mkdir(parents=True)
    theirs = MutableShareFile(str(share), schema=mutable_schema(version))
    theirs.create(NODE, ENABLER)
    theirs.writev([(0, DATA)], None)
    for number in range(1, 7):  # two of them beyond the four places in the header
        theirs.add_or_renew_lease(10**9, lease(place, number, NOW + 100))
    read_and_leased(place, f"mutable, version {version}", lambda: MutableShareFile(str(share)), "Mutable")
    # We write it, they read it; what they write then, we read.
    ours("write", place.root, place.index, 0, 990, NODE.hex(), ENABLER.hex(), given=b"x" * 20)
    expect(theirs.readv([(0, 2000)]) == [DATA[:990] + b"x" * 20], "they read another share than we changed")
    expect(len(list(theirs.get_leases())) == 4, "a change of ours keeps the four leases in the header")
    theirs.check_write_enabler(ENABLER, b"")
    theirs.writev([(5, b"y" * 3000)], None)
    ours_read = ours("read", place.root, place.index, 0)
    expect(ours_read == DATA[:5] + b"y" * 3000, "we read another share than they changed")
    held(f"mutable, version {version}: changed by us, then by them")


def read_and_leased(place, what, theirs, kind):
    """We read the data and the leases, renew one, add one; they find what they should."""
    before = [(info.owner_num, info.get_expiration_time()) for info in theirs().get_leases()]
    expect(our_leases(place) == {0: (kind, len(DATA), before)}, f"{what}: we see {our_leases(place)}, not {before}")
    expect(ours("read", place.root, place.index, 0) == DATA, f"{what}: we read other data")
    renew, cancel = secrets(place, 2)
    ours("lease", place.root, place.index, renew.hex(), cancel.hex())
    renew, cancel = secrets(place, 9)
    ours("lease", place.root, place.index, renew.hex(), cancel.hex())
    after = list(theirs().get_leases())
    expect(len(after) == len(before) + 1, f"{what}: {len(before)} leases became {len(after)}, not one more")
    for number, info in zip([*range(1, len(before) + 1), 9], after):
        renew, cancel = secrets(place, number)
        expect(info.is_renew_secret(renew) and info.is_cancel_secret(cancel), f"{what}: lease {number} has other secrets")
        late = info.get_expiration_time() >= NOW + MONTH
        expect(late == (number in (2, 9)), f"{what}: lease {number} expires at {info.get_expiration_time()}")
    expect(theirs_data(theirs()) == DATA, f"{what}: our leases changed the data")
    ours_now = our_leases(place)
    theirs().renew_lease(secrets(place, 9)[0], NOW + 2 * MONTH)
    expect(our_leases(place)[0][2][-1] == (1, NOW + 2 * MONTH), f"{what}: they renew our lease, we see {ours_now}")
    held(f"{what}: they wrote, we read and leased it, they read that")


# --- what we wrote ----------------------------------------------------------------------------------


def our_immutable(place):
    for share, data in [(0, DATA), (1, b"")]:
        ours("put", place.root, place.index, share, given=data)
    server = real_server(place)
    buckets = server.get_buckets(place.raw)
    expect(sorted(buckets) == [0, 1], f"they see {sorted(buckets)} of our shares 0 and 1")
    expect(buckets[0].read(0, 5000) == DATA and buckets[1].read(0, 5000) == b"", "they read other data than we wrote")
    leased_by_them(place, server, {0: ("Immutable", len(DATA)), 1: ("Immutable", 0)})
    again, writers = server.allocate_buckets(place.raw, *secrets(place, 1), {0, 1, 2}, 5)
    expect((again, set(writers)) == ({0, 1}, {2}), f"they allocate {writers} beside our shares")
    held("immutable: we wrote, they read and leased it, we read that")


def our_mutable(place):
    ours("write", place.root, place.index, 3, 0, NODE.hex(), ENABLER.hex(), given=DATA)
    server = real_server(place)
    expect(server.slot_readv(place.raw, [], [(0, 5000)]) == {3: [DATA]}, "they read another slot than we wrote")
    leased_by_them(place, server, {3: ("Mutable", len(DATA))})
    secret = (ENABLER, *secrets(place, 1))
    test_and_write = {3: ([(0, 4, b"eq", DATA[:4])], [(len(DATA), b"more")], None)}
    done, read = server.slot_testv_and_readv_and_writev(place.raw, secret, test_and_write, [(0, 5)])
    expect(done and read == {3: [DATA[:5]]}, f"they test and write our slot: {done}, {read}")
    expect(ours("read", place.root, place.index, 3) == DATA + b"more", "we read another slot than they changed")
    held("mutable: we wrote, they read, leased and changed it, we read that")


def leased_by_them(place, server, shares):
    expect(our_leases(place) == {share: (*facts, []) for share, facts in shares.items()}, "our shares are made with leases")
    for number in (1, 2, 1):
        server.add_lease(place.raw, *secrets(place, number))
    for share, (kind, size) in shares.items():
        found = our_leases(place)[share]
        expect(found[:2] == (kind, size) and [owner for owner, _ in found[2]] == [1, 1], f"we see of their leases: {found}")
    for path in place.share(0).parent.iterdir():
        stored = path.read_bytes()
        for secret in secrets(place, 1) + secrets(place, 2):
            expect(hashlib.blake2b(secret, digest_size=32).digest() in stored, "a lease's hash is not in our container")


# --- expiry -----------------------------------------------------------------------------------------


def we_expire(place, kind, version):
    """Three of their shares: renewed long ago, partly so, and lately."""
    for share, ages in enumerate([[9000, 8000], [9000, 100], [100, 200]]):
        path = place.share(share)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "immutable":
            theirs = ShareFile(str(path), max_size=len(DATA), create=True, schema=immutable_schema(version))
            theirs.write_share_data(0, DATA)
            theirs = lambda path=path: ShareFile(str(path))
        else:
            theirs = MutableShareFile(str(path), schema=mutable_schema(version))
            theirs.create(NODE, ENABLER)
            theirs.writev([(0, DATA)], None)
            theirs = lambda path=path: MutableShareFile(str(path))
        for number, age in enumerate(ages):
            theirs().add_or_renew_lease(10**9, lease(place, number, NOW + MONTH - age))
    said = ours("expire", place.root, 5000).decode().strip()
    expect(said == "3 leases, 1 shares", f"we say that we expired {said}")
    open_it = ShareFile if kind == "immutable" else MutableShareFile
    left = {int(path.name): open_it(str(path)) for path in place.share(0).parent.iterdir()}
    expect(sorted(left) == [1, 2], f"shares 1 and 2 should be left, not {sorted(left)}")
    for share, count in [(1, 1), (2, 2)]:
        expect(len(list(left[share].get_leases())) == count, f"share {share} should have {count} leases")
        expect(theirs_data(left[share]) == DATA, f"our expiry changed the data of share {share}")
    held(f"{kind}, version {version}: they wrote and leased, we expired, they read what is left")


def they_expire(place, kind):
    for share in (0, 1):
        if kind == "immutable":
            ours("put", place.root, place.index, share, given=DATA)
        else:
            ours("write", place.root, place.index, share, 0, NODE.hex(), ENABLER.hex(), given=DATA)
    renew, cancel = secrets(place, 1)
    ours("lease", place.root, place.index, renew.hex(), cancel.hex())
    open_it = ShareFile if kind == "immutable" else MutableShareFile
    # Share 0 was leased long ago.
    open_it(str(place.share(0))).renew_lease(renew, NOW + MONTH - 9000, allow_backdate=True)
    crawl(place, 5000)
    expect(not place.share(0).exists(), "their crawler keeps our share whose lease is over")
    expect(ours("read", place.root, place.index, 1) == DATA, "their crawler takes our share that is leased")
    held(f"{kind}: we wrote and leased, they expired")


def crawl(place, override):
    crawler = LeaseCheckingCrawler(
        real_server(place), str(place.root / "state"), str(place.root / "history"),
        True, "age", override, None, ("mutable", "immutable"))
    crawler.cpu_slice = 10**6
    crawler.load_state()
    crawler.start_current_prefix(time.time())


# --- a whole server ---------------------------------------------------------------------------------


def with_a_running_server(place):
    """They upload through their server's front door while we are a guest in its directory."""
    server = real_server(place)
    _, writers = server.allocate_buckets(place.raw, *secrets(place, 1), {4}, len(DATA))
    writers[4].write(0, DATA)
    expect(our_leases(place) == {}, "we see a share of theirs that is not complete")
    writers[4].close()
    renew, cancel = secrets(place, 1)
    ours("lease", place.root, place.index, renew.hex(), cancel.hex())
    found = our_leases(place)[4]
    expect(found[:2] == ("Immutable", len(DATA)) and len(found[2]) == 1, f"our lease is theirs, renewed; we see {found}")
    server.slot_testv_and_readv_and_writev(
        si_a2b(b"a" * 26), (ENABLER, renew, cancel), {0: ([], [(0, DATA)], None)}, [])
    expect(ours("read", place.root, "a" * 26, 0) == DATA, "we read another slot than they made")
    held("their server made shares of both kinds, and we leased and read them")


# --- helpers ----------------------------------------------------------------------------------------


class Place:
    def __init__(self, root):
        self.root = Path(root)
        self.raw = b"storage indexxxx"
        self.index = si_b2a(self.raw).decode()
        (self.root / "shares").mkdir()

    def share(self, number):
        return self.root / "shares" / self.index[:2] / self.index / str(number)


def with_directory(work):
    with tempfile.TemporaryDirectory(prefix="containers-") as root:
        work(Place(root))


def real_server(place):
    return StorageServer(str(place.root), NODE, clock=StandingTimers())


class StandingTimers(task.Clock):
    """Their server's clock: the time of day, and timers that never run."""

    def seconds(self):
        return time.time()


def secrets(place, client):
    """What a client with this number shows this server for this file."""
    secret, index = bytes([client]) * 32, place.raw
    return (
        bucket_renewal_secret_hash(file_renewal_secret_hash(my_renewal_secret_hash(secret), index), NODE),
        bucket_cancel_secret_hash(file_cancel_secret_hash(my_cancel_secret_hash(secret), index), NODE),
    )


def lease(place, client, expires):
    return LeaseInfo(1, *secrets(place, client), expires, NODE)


def mutable_schema(version):
    return next(schema for schema in MUTABLE_SCHEMAS if schema.version == version)


def theirs_data(share):
    return share.read_share_data(0, 10000) if isinstance(share, ShareFile) else share.readv([(0, 10000)])[0]


def ours(*words, given=b""):
    done = subprocess.run([OURS, *map(str, words)], input=given, capture_output=True, timeout=120)
    expect(done.returncode == 0, f"containers {words[0]} exits {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def our_leases(place):
    """By share number: kind, size, and owner and expiry of each lease."""
    found = {}
    for line in ours("leases", place.root).decode().splitlines():
        index, share, kind, size, *leases = line.split()
        if index == place.index:
            found[int(share)] = kind, int(size), [tuple(map(int, lease.split(":"))) for lease in leases]
    return found


def held(what):
    print(f"{time.monotonic() - START:5.1f} s  {what}", flush=True)


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"interop: {otherwise}")


START = time.monotonic()
main()
