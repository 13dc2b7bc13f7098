"""Our git-annex peers and the released git-annex understand each other: interop_annex.py GRID BIN

GRID is our command, BIN the folder with `git-annex` and `git-annex-shell`. Everything is on loopback and in one temporary
folder. Prints a line for each thing that held; the first that does not ends the run with exit status 1.
"""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

GRID, BIN = sys.argv[1], Path(sys.argv[2])
PATIENCE = 60  # seconds for one run of a command
CLIENT = "11111111-2222-3333-4444-555555555555"
FILES = {
    "small.txt": b"hello\n",
    "empty.txt": b"",
    "big.bin": bytes((i * 7 + 3) & 255 for i in range(200_000)),
}


def main():
    with tempfile.TemporaryDirectory(prefix="seedgrid-annex-") as folder:
        root = Path(folder)
        try:
            place = Place(root)
            our_client(place)
            their_client_over_http(place)
            their_client_over_ssh(place)
            their_client_and_our_gateway(Behind(root / "behind"))
        finally:
            # The real program makes its objects read-only.
            subprocess.run(["chmod", "-R", "u+w", folder], check=False)


# --- our client, their server ---------------------------------------------------------------------


def our_client(place):
    with their_server(place) as port:
        url = f"annex+http://127.0.0.1:{port}/git-annex/{place.uuid}"
        for version in range(5):
            one_version(place, url, version)
        falls_back(place, port)
        goes_on(port, place, url)


def one_version(place, url, version):
    """Each operation of `grid annex`, in one version of the protocol."""

    def grid(command, key, *more, status=0):
        return run([GRID, "annex", command, url, key, *more, f"--protocol={version}"], place, status=status)

    for name, content in FILES.items():
        grid("check", key_of(content, name))
        expect(grid("get", key_of(content, name)) == content, f"v{version}: get differs for {name}")
    new = f"new in version {version}\n".encode() * 5000
    key, file = key_of(new, "x.txt"), place.root / "new"
    file.write_bytes(new)
    grid("check", key, status=1)
    grid("get", key, status=1)
    grid("lock", key, status=1)
    file.write_bytes(new[:-1] + b"?")
    grid("put", key, file, status=2)
    grid("check", key, status=1)
    file.write_bytes(new)
    grid("put", key, file)
    grid("put", key, file)
    expect(grid("get", key) == new, f"v{version}: get differs from what was put")
    real = place.root / "gw" / place.annex("gw", "contentlocation", key).decode().strip()
    expect(real.read_bytes() == new, f"v{version}: the real program has something else")
    lock = subprocess.Popen(
        [GRID, "annex", "lock", url, key, f"--protocol={version}"],
        env=place.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    expect(lock.stdout.readline() == b"locked\n", f"v{version}: it is not locked")
    grid("remove", key, status=1)
    grid("check", key)
    lock.stdin.close()
    expect(lock.wait(PATIENCE) == 0, f"v{version}: the lock did not end")
    if version >= 3:
        grid("remove", key, "--before=1", status=1)
    grid("remove", key)
    grid("remove", key)
    grid("check", key, status=1)
    held(f"our client asks everything in version {version}")


def falls_back(place, port):
    """A repository that is not there is found out about in five steps; one that is, in none."""
    run([GRID, "annex", "check", f"annex+http://127.0.0.1:{port}/git-annex/{CLIENT}", key_of(b"", "e")], place, status=1)
    held("our client finds out that a repository is not there")


def goes_on(port, place, url):
    """An upload that broke off is gone on with, on both sides."""
    content = b"in two parts " * 20_000
    key, file = key_of(content, "p.txt"), place.root / "parts"
    file.write_bytes(content)
    post(port, f"/git-annex/{place.uuid}/v4/put?key={key}&clientuuid={CLIENT}", content[:100_000], announced=len(content))
    report = json.loads(run([GRID, "annex", "--json", "put", url, key, file], place))
    expect(report["sent"] == len(content) - 100_000, f"the upload does not go on where the last one ended: {report}")
    expect(run([GRID, "annex", "get", url, key], place) == content, "the parts do not fit")
    held("our client goes on with an upload that broke off")


# --- their client, our server ---------------------------------------------------------------------


def their_client_over_http(place):
    objects = place.root / "http-objects"
    with our_server(place, objects, "--wideopen") as url:
        base = url.removesuffix(place.uuid)
        place.clone("gw", "http-user", annexUrl=base)
        exercise(place, "http-user", objects)
        conformance(place, "http-user", "over HTTP")
        differences(place, url)
    with our_server(place, objects, "--unauth-readonly", "--authenv-http", GIT_ANNEX_P2PHTTP_PASSWORD_ann="secret") as url:
        place.clone("gw", "careful-user", annexUrl=url.removesuffix(place.uuid))
        place.annex("careful-user", "get", "--from", "origin", "big.bin")
        expect((place.root / "careful-user/big.bin").read_bytes() == FILES["big.bin"], "the real client gets something else")
        refused = place.try_annex("careful-user", "drop", "--from", "origin", "big.bin", "--numcopies=0", "--mincopies=0", "--force")
        expect(refused.returncode != 0 and any(objects.rglob("*big*")) or stored(objects, "big.bin"), "anybody may drop")
        key, file = key_of(b"by ann", "a"), place.root / "ann"
        file.write_bytes(b"by ann")
        run([GRID, "annex", "put", url, key, file], place, status=1)
        run([GRID, "annex", "put", url, key, file, "--user=ann"], place, status=0, GIT_ANNEX_P2PHTTP_PASSWORD_ann="secret")
        run([GRID, "annex", "remove", url, key, "--user=ann"], place, status=1, GIT_ANNEX_P2PHTTP_PASSWORD_ann="Secret")
    held("the real client reads where it may only read")


def their_client_over_ssh(place):
    """A stand-in for ssh starts our `p2pstdio`, and the real shell for everything else."""
    objects = place.root / "ssh-objects"
    place.env |= place.stand_in_for_ssh(f'''[ "$1" = p2pstdio ] && exec '{GRID}' annex p2pstdio '{objects}' --uuid {place.uuid}''')
    place.clone(f"ssh://localhost{place.root}/gw", "ssh-user")
    exercise(place, "ssh-user", objects)
    conformance(place, "ssh-user", "over ssh")


def their_client_and_our_gateway(place):
    """`grid annex proxy` in front of repositories of the real program and of ours, and of a cluster of them."""
    remotes = ["origin-node1", "origin-node2", "origin-node3", "origin-store", "origin-mycluster", "origin-pair"]
    with their_server(place, "node3") as port, our_gateway(place, port):
        place.clone("gw", "user", annexUrl=f"{place.base}/")
        place.approve("user")
        for remote in remotes:
            conformance(place, "user", f"over HTTP through our gateway to {remote}", remote)
        through_the_gateway(place, "user")
        into_a_special_remote(place, "user")
        one_node_gone(place, "user")
        same_lines_to_both_gateways(place)
        # Another process is the gateway of each session over ssh; all of them have one location log.
        place.env |= place.stand_in_for_ssh(
            f'''[ "$1" = p2pstdio ] && exec '{GRID}' annex proxy p2pstdio '{place.config}' "$3" --uuid "$5"''')
        place.clone(f"ssh://localhost{place.root}/gw", "ssh-user")
        place.approve("ssh-user")
        for remote in remotes:
            conformance(place, "ssh-user", f"over ssh through our gateway to {remote}", remote)
        through_the_gateway(place, "ssh-user")
        into_a_special_remote(place, "ssh-user")
    # Nobody is left who speaks for a node.
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes()
        except OSError:
            continue  # it has just gone
        expect(b"p2pstdio" not in words or str(place.root).encode() not in words, f"a node's program is left: {words}")
    held("no program of a node outlives our gateway")


def through_the_gateway(place, user):
    """What people do with a cluster and its nodes."""
    folder = place.root / user
    place.annex(user, "get", "--from", "origin", *FILES)
    place.annex(user, "copy", "--to", "origin-mycluster", *FILES)
    for name in FILES:
        expect(place.on_nodes(name) == (True, True, True), f"{user}: {name} is not on all nodes: {place.on_nodes(name)}")
    place.annex(user, "drop", *FILES)
    place.annex(user, "get", "--from", "origin-mycluster", *FILES)
    for name, content in FILES.items():
        expect((folder / name).read_bytes() == content, f"{user}: {name} came back different")
    for remote in ["origin-mycluster", "origin-node1", "origin-node2", "origin-node3"]:
        place.annex(user, "fsck", "--from", remote, *FILES)
    # One node's copy goes while the others are locked: over their own names, and with a limit in time.
    place.annex(user, "drop", "small.txt")
    place.annex(user, "drop", "--from", "origin-node1", "small.txt")
    expect(place.on_nodes("small.txt") == (False, True, True), f"{user}: it was to go from one node")
    place.annex(user, "get", "--from", "origin-mycluster", "small.txt")
    place.annex(user, "copy", "--to", "origin-node1", "small.txt")
    place.annex(user, "drop", "small.txt")
    # Only the gateway's own repository keeps it: that one is locked meanwhile.
    place.annex(user, "drop", "--from", "origin-mycluster", *FILES)
    for name in FILES:
        expect(place.on_nodes(name) == (False, False, False), f"{user}: {name} has not gone from all nodes")
    place.try_annex(user, "get", "--from", "origin-mycluster", "small.txt")
    expect(not (folder / "small.txt").exists(), f"{user}: the cluster has what it has not")
    place.annex(user, "drop", *FILES)
    held(f"the real client copies, gets, checks and drops through our gateway ({user})")


def into_a_special_remote(place, user):
    """A directory special remote behind our gateway, alone and with a node in a cluster, which the real program uses as well."""
    folder, reader = place.root / user, f"{user}-reader"
    place.annex(user, "get", "--from", "origin", *FILES)
    place.annex(user, "copy", "--to", "origin-store", *FILES)
    for name in FILES:
        expect(stored(place.store, name), f"{user}: {name} is not where the special remote has it")
    # The real program reads what came through our gateway.
    place.clone("gw", reader)
    place.annex(reader, "enableremote", "store", f"directory={place.store}")
    place.approve(reader, "store")
    place.annex(reader, "fsck", "--from", "store", *FILES)
    place.annex(reader, "get", "--from", "store", *FILES)
    for name, content in FILES.items():
        expect((place.root / reader / name).read_bytes() == content, f"{reader}: {name} came back different")
    # It removes and stores again what we stored; our gateway reads that, and removes it.
    place.annex(reader, "drop", "--from", "store", *FILES)
    expect(not any(stored(place.store, name) for name in FILES), f"{reader}: what we stored is not removed")
    place.annex(reader, "copy", "--to", "store", *FILES)
    place.annex(user, "drop", *FILES)
    place.annex(user, "fsck", "--from", "origin-store", *FILES)
    place.annex(user, "get", "--from", "origin-store", *FILES)
    for name, content in FILES.items():
        expect((folder / name).read_bytes() == content, f"{user}: {name} came back different")
    place.annex(user, "drop", "--from", "origin-store", *FILES)
    expect(not any(stored(place.store, name) for name in FILES), f"{user}: what they stored is not removed")
    # In a cluster it is a node as any other; the real gateway falls silent when it goes from there again.
    place.annex(user, "copy", "--to", "origin-pair", *FILES)
    for name in FILES:
        expect(stored(place.store, name) and stored(place.beside, name), f"{user}: {name} is not on both nodes")
    place.annex(user, "drop", *FILES)
    place.annex(user, "get", "--from", "origin-pair", *FILES)
    place.annex(user, "drop", *FILES)
    place.annex(user, "drop", "--from", "origin-pair", *FILES)
    for name in FILES:
        expect(not stored(place.store, name) and not stored(place.beside, name), f"{user}: {name} has not gone from both nodes")
    expect(not any((place.store / "tmp").iterdir()), f"{user}: something is left in the special remote")
    held(f"the real client and our gateway use one special remote ({user})")


def one_node_gone(place, user):
    """A node that cannot be reached does not keep the others from taking an object (the real gateway fails)."""
    (place.root / "node1").rename(place.root / "elsewhere")
    place.annex(user, "get", "--from", "origin", "big.bin")
    place.annex(user, "copy", "--to", "origin-mycluster", "big.bin")
    expect(stored(place.objects, "big.bin"), "the node that is left does not have it")
    place.annex(user, "drop", "big.bin")
    place.annex(user, "get", "--from", "origin-mycluster", "big.bin")
    refused = place.try_annex(user, "drop", "--from", "origin-mycluster", "big.bin")
    expect(refused.returncode != 0, "it is dropped from a node that is not there")
    (place.root / "elsewhere").rename(place.root / "node1")
    place.annex(user, "copy", "--to", "origin-node1", "big.bin")
    place.annex(user, "drop", "--from", "origin-mycluster", "big.bin")
    place.annex(user, "drop", "big.bin")
    held("a node that is gone affects only its own part")


def same_lines_to_both_gateways(place):
    """The same lines to the real gateway and to ours, and the same answers, in every version; the log of each is its own."""
    real = [BIN / "git-annex-shell", "p2pstdio", place.root / "gw", CLIENT, "--uuid"]
    ours = [GRID, "annex", "proxy", "p2pstdio", place.config, CLIENT, "--uuid"]
    content = b"abcdefg"
    key, none = key_of(content, "k.txt"), key_of(b"nobody has it", "n.txt")
    lines = 0
    for version in range(5):
        hello = [f"VERSION {version}"] if version else []
        verdict = ["VALID"] if version else []
        put = [f"PUT a%b {key}", "DATA 7", content, *verdict]
        script = [
            *hello, f"CHECKPRESENT {key}", f"GET 0  {key}", "FAILURE", *put, f"CHECKPRESENT {key}", f"PUT  {key}",
            f"GET 0  {key}", "SUCCESS", f"GET 3  {key}", "SUCCESS", f"GET 7  {key}", "SUCCESS", f"LOCKCONTENT {none}",
            f"REMOVE {none}", f"REMOVE {key}", f"CHECKPRESENT {key}", f"GET 0  {key}", "FAILURE",
        ]
        if version >= 4:
            script += [f"PUT  {none}", "DATA-PRESENT"]
        scripts = [(uuid, script) for uuid in [place.cluster, place.node1]]
        scripts += [(place.cluster, [*hello, f"LOCKCONTENT {none}", "UNLOCKCONTENT"]), (place.cluster, [*hello, "GIBBERISH", "REMOVE x"])]
        for uuid, script in scripts:
            answers = [session([*command, uuid], script, place) for command in (real, ours)]
            expect(answers[0] == answers[1], f"version {version}, {uuid}: the real gateway says\n{answers[0]}\nand ours\n{answers[1]}")
            lines += len(answers[0])
    held(f"our gateway and the real one say the same {lines} lines")


def session(command, script, place):
    """What a server says to these lines and bytes. The order of UUIDs does not count."""
    sent = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in script)
    ran = subprocess.run(command, input=sent, env=place.env, capture_output=True, timeout=PATIENCE)
    sort = lambda line: b" ".join([line.split()[0], *sorted(line.split()[1:])]) if b"-PLUS" in line else line
    return [sort(line) for line in ran.stdout.splitlines()]


def exercise(place, user, objects):
    """What people do: copy, drop, get, check, drop from the remote, move back."""
    folder = place.root / user
    place.annex(user, "get", "--from", "direct", *FILES)
    git(place, user, "remote", "rm", "direct")
    place.annex(user, "copy", "--to", "origin", "--force", *FILES)
    for name in FILES:
        expect(stored(objects, name), f"{user}: we do not have {name}")
    place.annex(user, "drop", "--force", *FILES)
    # Of two copies elsewhere one goes: ours must be locked meanwhile.
    place.clone("gw", f"{user}-other")
    place.annex(f"{user}-other", "get", "--from", "direct", "big.bin")
    git(place, user, "remote", "add", "other", str(place.root / f"{user}-other"))
    git(place, user, "fetch", "-q", "other")
    place.annex(user, "drop", "--from", "other", "big.bin")
    place.annex(user, "get", "--from", "origin", *FILES)
    for name, content in FILES.items():
        expect((folder / name).read_bytes() == content, f"{user}: {name} came back different")
    place.annex(user, "fsck", "--from", "origin", *FILES)
    place.annex(user, "drop", "--from", "origin", "small.txt")
    expect(not stored(objects, "small.txt"), f"{user}: what was dropped is still there")
    # The other copy is ours: it must be locked while the local one goes.
    place.annex(user, "drop", "big.bin")
    expect(stored(objects, "big.bin"), f"{user}: the last copy has gone")
    # An object that has rotted is found out.
    path = object_path(objects, "big.bin")
    rotten = FILES["big.bin"][:-1] + b"?"
    path.chmod(0o644)
    path.write_bytes(rotten)
    got = place.try_annex(user, "get", "--from", "origin", "big.bin")
    expect(got.returncode != 0, f"{user}: rotten bytes are taken")
    path.write_bytes(FILES["big.bin"])
    place.annex(user, "get", "--from", "origin", "big.bin")
    held(f"the real client copies, gets, checks and drops ({user})")


def conformance(place, user, how, remote="origin"):
    """`testremote`: all but the group that wants a remote to become unreachable, which ours cannot."""
    ran = place.try_annex(user, "testremote", "--fast", "--size", "4kb", remote)
    failed, group, passed = set(), "", 0
    for line in ran.stdout.decode(errors="replace").splitlines():
        if re.match(r"^ {2}\S.*$", line):
            group = line.strip()
        if re.search(r":\s+FAIL", line):
            failed.add(group)
        passed += bool(re.search(r":\s+OK", line))
    expect(failed <= {"unavailable remote"}, f"testremote {how}: {failed} failed:\n{ran.stdout.decode(errors='replace')}")
    said = (ran.stdout + ran.stderr).decode(errors="replace")[-3000:]
    expect(passed >= 115, f"testremote {how}: only {passed} tests passed:\n{said}")
    held(f"testremote {how}: {passed} tests pass")


def differences(place, ours):
    """The same requests to both servers, and the same answers."""
    our_port = int(re.search(r":(\d+)/", ours)[1])
    k6, none = key_of(FILES["small.txt"], "a.txt"), key_of(b"nobody has it", "n.txt")
    content = b"sent to both\n"
    new, wrong = key_of(content, "b.txt"), key_of(b"something else", "w.txt")
    with their_server(place) as their_port:
        both = []
        for port in (our_port, their_port):
            base = f"/git-annex/{place.uuid}"
            answers = []

            def ask(path, body=None, announced=None, method="POST"):
                path = f"{base}/{path}{'&' if '?' in path else '?'}clientuuid={CLIENT}"
                answers.append((path, post(port, path, body or b"", announced, method)))

            post(port, f"{base}/v4/put?key={k6}&clientuuid={CLIENT}", FILES["small.txt"], len(FILES["small.txt"]))
            for v in range(5):
                ask(f"v{v}/checkpresent?key={k6}")
                ask(f"v{v}/checkpresent?key={none}")
                ask(f"v{v}/key/{k6}", method="GET")
                ask(f"v{v}/key/{k6}?offset=4", method="GET")
                ask(f"v{v}/key/{k6}?offset=6", method="GET")
                ask(f"v{v}/key/{none}", method="GET")
                if v >= 1:
                    ask(f"v{v}/putoffset?key={k6}")
                    ask(f"v{v}/putoffset?key={new}")
                ask(f"v{v}/put?key={new}", content[:7], len(content))
                if v >= 1:
                    ask(f"v{v}/putoffset?key={new}")
                    ask(f"v{v}/put?key={new}&offset=3", content[3:], len(content) - 3)
                else:
                    ask(f"v{v}/put?key={new}", content, len(content))
                ask(f"v{v}/put?key={new}", content, len(content))
                ask(f"v{v}/key/{new}", method="GET")
                ask(f"v{v}/remove?key={new}")
                ask(f"v{v}/remove?key={new}")
                ask(f"v{v}/put?key={wrong}", b"something elsf", 14)
                ask(f"v{v}/checkpresent?key={wrong}")
                ask(f"v{v}/lockcontent?key={none}")
                ask(f"v{v}/put?key={new}", content)
                if v >= 3:
                    ask(f"v{v}/remove-before?key={k6}&timestamp=1")
                    ask(f"v{v}/remove-before?key={none}&timestamp=1")
                if v >= 4:
                    ask(f"v{v}/put?key={none}&data-present=true", b"", 0)
                    ask(f"v{v}/put?key={k6}&data-present=true", b"", 0)
            ask(f"key/{k6}", method="GET")
            both.append(answers)
    for (path, ours), (_, theirs) in zip(*both, strict=True):
        expect(ours == theirs, f"{path}: we answer {ours}, and the real server {theirs}")
    held(f"{len(both[0])} requests are answered as by the real server")


# --- servers --------------------------------------------------------------------------------------


@contextmanager
def their_server(place, repository="gw"):
    port = free_port()
    command = [BIN / "git-annex", "p2phttp", "-J2", "--bind", "127.0.0.1", "--port", str(port), "--wideopen"]
    with open(place.root / "p2phttp.log", "ab") as log:
        server = subprocess.Popen(command, cwd=place.root / repository, env=place.env, stderr=log, stdout=log)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                expect(server.poll() is None and time.monotonic() < end, "the real server does not start")
                time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def our_server(place, objects, *options, **environment):
    with our_own(place, "serve", objects, "--uuid", place.uuid, *options, **environment) as url:
        yield url


@contextmanager
def our_gateway(place, port):
    place.configure(port)
    with our_own(place, "proxy", "serve", place.config, "--wideopen") as url:
        place.base = url.rsplit("/", 1)[0]
        yield


@contextmanager
def our_own(place, *command, **environment):
    """One of our servers; gives its first URL."""
    command = [GRID, "annex", *command, "--bind", "127.0.0.1:0"]
    with open(place.root / "serve.log", "ab") as log:
        server = subprocess.Popen(command, env=place.env | environment, stdout=subprocess.PIPE, stderr=log)
    try:
        yield server.stdout.readline().decode().strip()
        server.send_signal(signal.SIGINT)
        expect(server.wait(PATIENCE) == 0, "our server does not end well")
    finally:
        server.kill()
        server.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def post(port, path, body, announced=None, method="POST"):
    """A request; a body that is shorter than announced ends cleanly. Status and body, without what differs by nature."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Content-Type": "application/octet-stream"}
    if announced is not None:
        headers["X-git-annex-data-length"] = str(announced)
    chunks = iter([body]) if body else b""
    try:
        connection.request(method, path, body=None if method == "GET" else chunks, headers=headers, encode_chunked=bool(body))
    except BrokenPipeError:
        pass  # it has answered already
    answer = connection.getresponse()
    text = answer.read()
    length = answer.getheader("X-git-annex-data-length")
    connection.close()
    kind = answer.getheader("Content-Type") or ""
    return answer.status, json.loads(text) if "json" in kind and answer.status == 200 else text if answer.status == 200 else None, length


# --- a place with repositories ---------------------------------------------------------------------


class Place:
    """A home of its own, and a repository `gw` that has the files."""

    def __init__(self, root):
        self.root = root
        home = root / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "XDG_"))}
        self.env = kept | {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        for name, value in [
            ("user.name", "interop"), ("user.email", "interop@example.invalid"), ("init.defaultBranch", "main"),
            ("annex.security.allowed-ip-addresses", "127.0.0.1"),
        ]:
            run(["git", "config", "--global", name, value], self)
        run(["git", "init", "-q", root / "gw"], self)
        self.annex("gw", "init", "gw")
        for name, content in FILES.items():
            (root / "gw" / name).write_bytes(content)
        self.annex("gw", "add", ".")
        git(self, "gw", "commit", "-qm", "files")
        self.uuid = git(self, "gw", "config", "annex.uuid").decode().strip()

    def clone(self, url, name, **settings):
        """A clone whose `origin` is served by us, and whose `direct` is the repository itself."""
        run(["git", "clone", "-q", self.root / url if url == "gw" else url, self.root / name], self)
        self.annex(name, "init", name)
        for setting, value in settings.items():
            git(self, name, "config", f"remote.origin.{setting}", value)
        git(self, name, "remote", "add", "direct", str(self.root / "gw"))
        git(self, name, "fetch", "-q", "direct")

    def stand_in_for_ssh(self, ours):
        """The environment in which git's ssh runs commands here: what the line `ours` does not take goes to the real shell."""
        shim = self.root / "shim"
        shim.mkdir()
        script(shim / "git-annex-shell", f"""
            {ours}
            exec '{BIN}/git-annex-shell' "$@"
            """)
        script(shim / "fakessh", """
            for a in "$@"; do last=$a; done
            exec sh -c "$last"
            """)
        return {"PATH": f"{shim}:{self.env['PATH']}", "GIT_SSH": str(shim / "fakessh"), "GIT_ANNEX_USE_GIT_SSH": "1"}

    def annex(self, repository, *arguments):
        return run([BIN / "git-annex", *arguments], self, cwd=self.root / repository)

    def try_annex(self, repository, *arguments):
        command = [BIN / "git-annex", *arguments]
        return subprocess.run(
            command, cwd=self.root / repository, env=self.env, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)


class Behind(Place):
    """A place whose `gw` is a gateway: to `node1`, `node2` and `node3`, and to a cluster of them. In our own configuration of it
    the first is served by the real program, the second by ours, and the third by the real program over HTTP. `store` is a
    directory special remote, and `pair` a cluster of that and of `node4`, whose objects our gateway has in a directory."""

    def __init__(self, root):
        root.mkdir()
        super().__init__(root)
        nodes = ["node1", "node2", "node3", "node4"]
        for node in nodes:
            run(["git", "clone", "-q", root / "gw", root / node], self)
            self.annex(node, "init", node)
            git(self, node, "remote", "rm", "origin")
            git(self, "gw", "remote", "add", node, f"../{node}")
            git(self, "gw", "fetch", "-q", node)
        self.store = root / "store"
        self.store.mkdir()
        self.annex("gw", "initremote", "store", "type=directory", f"directory={self.store}", "encryption=none")
        self.annex("gw", "merge")
        for node in [*nodes, "store"]:
            git(self, "gw", "config", f"remote.{node}.annex-proxy", "true")
        self.annex("gw", "updateproxy")
        for cluster, of in [("mycluster", nodes[:3]), ("pair", ["node4", "store"])]:
            self.annex("gw", "initcluster", cluster)
            for node in of:
                git(self, "gw", "config", f"remote.{node}.annex-cluster-node", cluster)
        self.annex("gw", "updatecluster")
        config = lambda name: git(self, "gw", "config", name).decode().strip()
        self.cluster, self.pair = config("annex.cluster.mycluster"), config("annex.cluster.pair")
        self.special = config("remote.store.annex-uuid")
        self.node1, self.node2, self.node3, self.node4 = [config(f"remote.{node}.annex-uuid") for node in nodes]
        self.objects, self.beside, self.config = root / "node2-objects", root / "node4-objects", root / "gateway.toml"

    def configure(self, port):
        """Writes our configuration; the real server of the third node is at this port."""
        root = self.root
        words = lambda *words: json.dumps([str(word) for word in words])
        self.config.write_text(f"""
            uuid = "{self.uuid}"
            log = "location-log"
            clusterjobs = 2
            [[node]]
            name = "gw"
            uuid = "{self.uuid}"
            command = {words(BIN / "git-annex-shell", "p2pstdio", root / "gw", self.uuid)}
            [[node]]
            name = "node1"
            uuid = "{self.node1}"
            command = {words(BIN / "git-annex-shell", "p2pstdio", root / "node1", self.uuid)}
            [[node]]
            name = "node2"
            uuid = "{self.node2}"
            command = {words(GRID, "annex", "p2pstdio", self.objects, "--uuid", self.node2)}
            [[node]]
            name = "node3"
            uuid = "{self.node3}"
            url = "annex+http://127.0.0.1:{port}/git-annex/{self.node3}"
            [[node]]
            name = "node4"
            uuid = "{self.node4}"
            directory = "{self.beside}"
            [[node]]
            name = "store"
            uuid = "{self.special}"
            special = "store"
            [[cluster]]
            uuid = "{self.cluster}"
            nodes = ["node1", "node2", "node3"]
            [[cluster]]
            uuid = "{self.pair}"
            nodes = ["node4", "store"]
            """)

    def approve(self, user, remote="origin-store"):
        """The real program uses no special remote, near or behind a gateway, that a person has not looked at. Once is enough for
        all clones."""
        asked = self.try_annex(user, "verifyremote", remote)
        if b"since it was last verified" in asked.stdout:
            return
        number = re.search(rb"--safe (\d+)", asked.stdout + asked.stderr)
        expect(number, f"{user}: the real program does not say how a special remote is approved: {asked}")
        self.annex(user, "verifyremote", remote, "--safe", number[1].decode())
        if remote.startswith("origin-"):
            # It notes that in two places; in this one it hides a remote that is configured nowhere here.
            git(self, user, "config", "--unset", f"remote.{remote}.annex-verified")

    def on_nodes(self, name):
        """Whether each of the nodes has an object, as their disks tell."""
        key = key_of(FILES[name], name)

        def has(node):
            objects = (self.root / node / ".git/annex/objects").glob(f"*/*/{key}/{key}")
            return any(path.read_bytes() == FILES[name] for path in objects)

        return has("node1"), stored(self.objects, name), has("node3")


def key_of(content, name):
    extension = Path(name).suffix
    return f"SHA256E-s{len(content)}--{hashlib.sha256(content).hexdigest()}{extension}"


def object_path(objects, name):
    key = key_of(FILES[name], name)
    digest = hashlib.md5(key.encode()).hexdigest()
    return objects / digest[:3] / digest[3:6] / key / key


def stored(objects, name):
    path = object_path(objects, name)
    return path.exists() and path.read_bytes() == FILES[name]


def git(place, repository, *arguments):
    return run(["git", *arguments], place, cwd=place.root / repository)


def run(command, place, status=0, cwd=None, **environment):
    ran = subprocess.run(
        command, cwd=cwd or place.root, env=place.env | environment, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    words = " ".join(map(str, command))
    expect(ran.returncode == status, f"exit status {ran.returncode} of {words}\n{ran.stdout[-2000:]!r}\n{ran.stderr.decode()[-2000:]}")
    return ran.stdout


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def held(what):
    print(f"held: {what}", flush=True)


def expect(condition, message):
    if not condition:
        print(f"FAILED: {message}", file=sys.stderr)
        sys.exit(1)


main()
