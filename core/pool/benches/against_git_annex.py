"""Our HTTP server against the real `git-annex p2phttp`, one after the other on one machine and disk.

    cargo build --release -p grid && cargo build --release -p pool --examples
    python3 core/pool/benches/against_git_annex.py target/release [VENV/bin [DIR]]

VENV is one that holds git-annex (.ci/annex_venv.sh prints its folder, and is run if it is left out). The same clients ask
both the same: small objects many at a time, and one of 100 MB. Memory is the most that the server process has had. Ours
makes objects durable before it says that it has them; the real one does not.

The last column is what this machine does without a server's work (`examples/bare.rs`), which bounds what can be measured
here: a check is answered without being read, small objects are made durable by as many threads as there are workers, a
large one by one, and 100 MB are hashed once, as a server must that says whether what it sends is valid.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket
from time import sleep

RELEASE = Path(sys.argv[1]).resolve()
CI = Path(__file__).resolve().parents[3] / ".ci"
JOBS, CLIENTS, SMALL, LARGE = 4, 8, 1000, 100_000_000
# What is asked for how often: of the real server, of ours. A PUT is of an object that is not there yet.
REQUESTS = {"check": (2_000, 40_000), "get": (1_000, 20_000), "put": (500, 3_000)}


def main():
    venv = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(
        subprocess.run([CI / "annex_venv.sh"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()) / "bin"
    with tempfile.TemporaryDirectory(prefix="against-git-annex-", dir=sys.argv[3] if len(sys.argv) > 3 else None) as base:
        base = Path(base)
        try:
            with their_server(base, venv) as server:
                theirs = measure(server, 0)
            with our_server(base) as server:
                ours = measure(server, 1)
            bare = without_a_server(base)
        finally:
            # The real program makes its objects read-only.
            subprocess.run(["chmod", "-R", "u+w", base], check=False)
    print(f"{'':22}{'theirs':>14}{'ours':>14}{'':9}{'p99, theirs':>14}{'ours':>10}{'bare':>12}")
    for what, unit in [("put", "/s"), ("check", "/s"), ("get", "/s"), ("put 100 MB", "MB/s"), ("get 100 MB", "MB/s")]:
        (there, slow_there), (here, slow_here) = theirs[what], ours[what]
        print(f"{what:16}{unit:>6}{there:>14,.0f}{here:>14,.0f}{here / there:>8.1f}x{slow_there / 1000:>11,.1f} ms{slow_here / 1000:>7,.1f} ms"
              + (f"{bare[what]:>12,.0f}{bare[what] / there:>7.1f}x" if what in bare else ""))
    print(f"{'memory':16}{'MiB':>6}{theirs['small'] / 1024:>14,.1f}{ours['small'] / 1024:>14,.1f}   after the small objects")
    print(f"{'':16}{'MiB':>6}{theirs['large'] / 1024:>14,.1f}{ours['large'] / 1024:>14,.1f}   after the large one")


def measure(server, whose):
    process, url = server
    found, objects = {}, REQUESTS["put"][whose]
    for operation in ["put", "check", "get"]:
        requests = REQUESTS[operation][whose]
        ran = load(url, operation, SMALL, objects, CLIENTS, requests)
        found[operation] = ran["requests"] / ran["seconds"], ran["p99_us"]
    found["small"] = peak_kib(process.pid)
    for operation in ["put", "get"]:
        ran = load(url, operation, LARGE, 1, 1, 1 if operation == "put" else 5)
        found[f"{operation} 100 MB"] = ran["requests"] * LARGE / 1e6 / ran["seconds"], ran["p99_us"]
    found["large"] = peak_kib(process.pid)
    return found


def without_a_server(base):
    answers = subprocess.Popen([RELEASE / "examples/bare", "answer"], stdout=subprocess.PIPE, text=True)
    try:
        checked = load(answers.stdout.readline().strip(), "check", SMALL, 1, CLIENTS, 2 * REQUESTS["check"][1])
    finally:
        answers.kill()
        answers.wait()
    return {"check": checked["requests"] / checked["seconds"], "get 100 MB": bare("hash", LARGE),
            "put": bare("keep", base / "bare", REQUESTS["put"][1], SMALL, JOBS),
            "put 100 MB": bare("keep", base / "large", 3, LARGE, 1) * LARGE / 1e6}


def bare(*words):
    return float(subprocess.run([RELEASE / "examples/bare", *map(str, words)], stdout=subprocess.PIPE, check=True, text=True).stdout)


def load(*words):
    ran = subprocess.run([RELEASE / "examples/load", *map(str, words)], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(ran.stdout)


def peak_kib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


@contextmanager
def their_server(base, venv):
    repository = base / "theirs"
    env = os.environ | {"HOME": str(base), "PATH": f"{venv}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    run = lambda *words: subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    run("git", "config", "--global", "user.name", "bench")
    run("git", "config", "--global", "user.email", "bench@example.invalid")
    run("git", "init", "-q", repository)
    run("git", "-C", repository, "annex", "init", "-q")
    uuid = run("git", "-C", repository, "config", "annex.uuid").strip()
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [venv / "git-annex", "p2phttp", f"-J{JOBS}", "--bind", "127.0.0.1", "--port", str(port), "--wideopen"]
    with open(base / "p2phttp.log", "wb") as log:
        process = subprocess.Popen(command, cwd=repository, env=env, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                sleep(0.05)
        yield process, f"annex+http://127.0.0.1:{port}/git-annex/{uuid}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def our_server(base):
    command = [RELEASE / "grid", "annex", "serve", base / "ours", "--uuid", "ours", f"-J{JOBS}", "--bind", "127.0.0.1:0", "--wideopen"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


main()
