"""The `grid` command and the released Tahoe-LAFS read what the other wrote: interop.py GRID

One real grid on loopback (real_grid.py). `grid` works on the storage nodes' own folders, each passed
as --storage NODE/storage, the folder that holds `shares/`. Prints a line for each thing that held; the
first that does not ends the run with exit status 1.
"""

import struct
import subprocess
import sys
import time
from pathlib import Path

from real_grid import Encoding, RealGrid, share_data

GRID = sys.argv[1]  # our command
PATIENCE = 120  # seconds for one run of the command
SHARE_START = 12  # of the share in its container file

A = b"a" * 16
SMALL_SEGMENTS = Encoding(3, 10, 16384, A)
LAYOUT_2 = Encoding(3, 10, 16384, A, layout=2)  # nobody writes it for small files unless told to
CASES = [  # encoding, sizes of the files that go both ways under it
    (SMALL_SEGMENTS, [0, 55, 56, 16384, 16385, 100_000]),
    (Encoding(3, 10, 1 << 20, bytes(range(16))), [5000, 2_500_000]),
    (Encoding(5, 7, 512, b""), [2049]),
    (Encoding(1, 4, 1 << 20, A), [1000]),
    (Encoding(4, 4, 130, A), [600]),
]


def main():
    with RealGrid(storage_nodes=5) as grid:
        for encoding, sizes in CASES:
            grid.configure(encoding)
            for size in sizes:
                we_read(grid, plaintext(size, salt=1), encoding)
                we_write(grid, plaintext(size, salt=2), encoding)
        grid.configure(LAYOUT_2)
        we_read(grid, plaintext(100_000, salt=3), LAYOUT_2)
        grid.configure(SMALL_SEGMENTS)
        we_read_despite_damage(grid, plaintext(100_000, salt=4))


# --- the tests -----------------------------------------------------------------------------------


def we_read(grid, content, encoding):
    """What `tahoe put` wrote, `grid get` reads."""
    cap = grid.put(content)
    expect(our_get(grid, cap) == content, f"grid get differs from what tahoe put: {cap}")
    held(f"we read {describe(content, encoding)}")


def we_write(grid, content, encoding):
    """What `grid put` wrote, Tahoe reads, verifies, leases, and would have written itself."""
    cap = our_put(grid, content, encoding)
    expect(grid.get(cap) == content, f"tahoe get differs from what grid put: {cap}")
    if not cap.startswith("URI:LIT:"):
        results = grid.check(cap, "--verify", "--add-lease")["results"]
        expect(results["healthy"], f"tahoe check --verify finds {cap} unhealthy: {results}")
        ours = take_shares(grid, cap)
        expect(grid.put(content) == cap, f"tahoe put gives another capability than {cap}")
        expect(take_shares(grid, cap) == ours, f"tahoe put writes other shares for {cap}")
    else:
        expect(grid.put(content) == cap, f"tahoe put gives another capability than {cap}")
    held(f"we write {describe(content, encoding)}")


def we_read_despite_damage(grid, content):
    """Any k good shares are enough, and fewer give a clear error."""
    cap = grid.put(content)
    # Server by server: the file without a header makes its whole server fail in Tahoe-LAFS, and so
    # stands where no good share is left.
    shares = sorted(share_files(grid, cap).values(), key=lambda path: (str(path.parent), path.name))
    *damaged, spare, _, _ = shares
    # Damage that no reader can do without noticing. (A share whose extension block is bad may still be
    # read by, once another's was good.)
    damage = [
        ("deleted", Path.unlink),
        ("without even a header", lambda path: truncate(path, 0)),
        ("cut in half", lambda path: truncate(path, path.stat().st_size // 2)),
        ("with a flipped bit in its first block", lambda path: flip(path, SHARE_START + 36)),
        ("with a flipped bit in its layout version", lambda path: flip(path, SHARE_START + 3)),
        ("with a flipped bit in every hash of its block tree", flip_block_tree),
        # Tahoe-LAFS 1.20 itself asks for the missing bytes over and over, and never ends.
        ("cut to less than its offset table", lambda path: truncate(path, 40)),
    ]
    expect(len(damage) == len(damaged), "one kind of damage for each share that can be spared")
    for path, (what, spoil) in zip(damaged, damage):
        spoil(path)
        expect(our_get(grid, cap) == content, f"grid get fails once a share is {what}")
        held(f"we read, one more share {what}")

    spare.unlink()
    failed = run_grid(grid, "get", cap, "-o", grid.base / "out")
    expect(failed.returncode == 1, f"with two of three shares grid get exits {failed.returncode}")
    expect("not enough shares" in failed.stderr.decode().lower(),
           f"with two of three shares grid get says: {failed.stderr.decode()}")
    expect(not (grid.base / "out").exists(), "grid get leaves a file behind though it failed")
    held("two of three shares: exit status 1, not enough shares")


# --- our command ---------------------------------------------------------------------------------


def our_get(grid, cap):
    out = grid.base / "out"
    succeed(run_grid(grid, "get", cap, "-o", out))
    expect(out.exists(), f"grid get exits 0 and writes no file: {cap}")
    content = out.read_bytes()
    out.unlink()
    return content


def our_put(grid, content, encoding):
    source = grid.base / "in"
    source.write_bytes(content)
    done = succeed(run_grid(
        grid, "put", source, "--k", encoding.k, "--n", encoding.n,
        "--max-segment-size", encoding.max_segment_size, "--convergence", encoding.convergence.hex()))
    return done.stdout.decode().strip()


def run_grid(grid, *words):
    storage = [word for node in grid.storage for word in ("--storage", node / "storage")]
    command = [str(word) for word in [GRID, *words, *storage]]
    try:
        return subprocess.run(command, timeout=PATIENCE, stdin=subprocess.DEVNULL, capture_output=True)
    except subprocess.TimeoutExpired:
        sys.exit(f"interop: not done after {PATIENCE} s: {command}")


def succeed(done):
    expect(done.returncode == 0, f"{done.args} exits {done.returncode}: {done.stderr.decode()}")
    return done


# --- shares on disk ------------------------------------------------------------------------------


def share_files(grid, cap):
    return grid.share_files(grid.info(cap)["verify_uri"].split(":")[2])


def take_shares(grid, cap):
    """Every share's bytes by number; the files are removed."""
    shares = {}
    for number, path in share_files(grid, cap).items():
        shares[number] = share_data(path.read_bytes())
        path.unlink()
    return shares


def truncate(path, length):
    with open(path, "r+b") as file:
        file.truncate(length)


def flip(path, *offsets):
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 1
    path.write_bytes(content)


def flip_block_tree(path):
    offsets = struct.unpack_from(">9L", path.read_bytes(), SHARE_START)
    block_hashes, share_hashes = offsets[6], offsets[7]
    flip(path, *range(SHARE_START + block_hashes, SHARE_START + share_hashes, 32))


# --- the rest ------------------------------------------------------------------------------------


def plaintext(size, salt):
    """A file of that size whose bytes do not repeat with the segments; another for each salt."""
    return bytes((7 * i + i // 251 + salt) % 251 for i in range(size))


def describe(content, encoding):
    return (f"{len(content)} bytes, {encoding.k}-of-{encoding.n}, segments of "
            f"{encoding.max_segment_size}, layout {encoding.layout}")


def held(what):
    print(f"{time.monotonic() - START:5.1f} s  {what}", flush=True)


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"interop: {otherwise}")


START = time.monotonic()
main()
