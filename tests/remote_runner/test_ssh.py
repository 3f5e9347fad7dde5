"""Reaching a machine by SSH: a real server of this user's, with real keys, jumps, agents and failures."""

import asyncio
import contextlib
import getpass
import hashlib
import os
import pty
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hotloop
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner import doctor, onlooker
from hotloop.remote_runner.bootstrap.request import Options
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.ssh.host import connect
from hotloop.remote_runner.ssh.link import Connector
from hotloop.remote_runner.ssh.target import parse
from hotloop.remote_runner.ssh.way import ssh_way
from hotloop.remote_runner.way import NoAgentError
from tests.remote_runner.sshd import Sshd, free_port, make_key

BLOCK = bytes(range(256)) * 1024


class Answers:
    """Whoever sits at the terminal.

    Attributes:
        asked: What was asked so far.
    """

    def __init__(self, *, confirm=None, secrets=()):
        self.asked = []
        self._confirm = confirm
        self._secrets = list(secrets)

    def confirm(self, text):
        self.asked.append(text)
        return self._confirm

    def secret(self, prompt):
        self.asked.append(prompt)
        return self._secrets.pop(0) if self._secrets else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that forwards nothing, changes its keys often, and whose host key is known."""
    started = Sshd(tmp_path_factory.mktemp("sshd"), options="DisableForwarding yes\nRekeyLimit 1M\nMaxSessions 3")
    yield started
    started.close()


@pytest.fixture
def own(tmp_path):
    """Make servers of a test's own."""
    with contextlib.ExitStack() as stack:

        def make(name="own", **options):
            started = Sshd(tmp_path / name, **options)
            stack.callback(started.close)
            return started

        yield make


@contextlib.contextmanager
def settings(server, tmp_path, text="", **changes):
    """A client's settings for a test alone: what `text` says comes first."""
    values = {
        "IdentityFile": server.key, "IdentitiesOnly": "yes", "IdentityAgent": "none",
        "UserKnownHostsFile": server.known_hosts, "GlobalKnownHostsFile": "none", **changes,
    }  # fmt: skip
    file = tmp_path / "ssh_config"
    lines = "\n".join(f"  {key} {value}" for key, value in values.items() if value is not None)
    file.write_text(f"{text}\nHost *\n{lines}\n")
    yield file


def on(server, work, *, target="", timeout_s=30, **options):
    """Connect, work with the host, disconnect."""

    async def main():
        host = await connect("gpu1", Connector(parse(target or server.target), **{"config": server.config, **options}))
        try:
            return await work(host)
        finally:
            await host.close()

    return asyncio.run(asyncio.wait_for(main(), timeout_s))


async def said(host, command="echo there"):
    process = await host.start(command)
    data = b""
    while block := await process.read():
        data += block
    return data, await process.wait(), process.errors()


async def write_on(process):
    for _ in range(100):
        await process.write(BLOCK)
        await asyncio.sleep(0)


def refused(server, **options):
    with pytest.raises(RunnerError) as caught:
        on(server, said, **options)
    assert caught.value.hint
    return caught.value


# --- commands


def test_command_has_three_streams_and_a_status(server):
    async def work(host):
        process = await host.start("cat; echo wrong >&2; exit 7")
        await process.write(b"one ")
        await process.write(b"two")
        await process.end_input()
        data = b""
        while block := await process.read():
            data += block
        return data, await process.wait(), process.errors()

    assert on(server, work) == (b"one two", 7, b"wrong\n")


def test_command_that_a_signal_ends_is_no_lost_connection(server):
    assert on(server, lambda host: said(host, "kill -9 $$"))[1] == 255


def test_large_data_pass_both_ways_while_keys_change(server):
    async def work(host):
        up = await host.start("exec sha256sum")
        for _ in range(32):
            await up.write(BLOCK)
        await up.end_input()
        digest = (await up.read()).split()[0].decode()
        return digest, hashlib.sha256((await said(host, f"head -c {len(BLOCK) * 32} /dev/zero"))[0]).hexdigest()

    up, down = on(server, work)

    assert up == hashlib.sha256(BLOCK * 32).hexdigest()
    assert down == hashlib.sha256(bytes(len(BLOCK) * 32)).hexdigest()


def test_end_of_stderr_is_kept(server):
    _, status, errors = on(server, lambda host: said(host, "yes wrong | head -c 300000 >&2; echo end >&2; exit 3"))

    assert status == 3
    assert len(errors) == 1 << 16
    assert errors.endswith(b"end\n")


def test_who_takes_nothing_is_sent_no_more_than_buffers_hold(server):
    async def work(host):
        process = await host.start("exec sleep 100")
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                await asyncio.wait_for(process.write(BLOCK), 0.5)
                sent += len(BLOCK)
        return sent

    assert 0 < on(server, work) < 1 << 23


def test_who_reads_nothing_is_sent_no_more_than_buffers_hold(server):
    async def work(host):
        process = await host.start("dd if=/dev/zero bs=64k count=1000 status=progress")
        last = b"-"
        while process.errors() != last:  # dd stands still
            last = process.errors()
            await asyncio.sleep(1.1)
        held = len(await process.read())
        return held, process.errors()

    held, errors = on(server, work)

    assert held < 1 << 22
    assert b"65536000 bytes" not in errors


def test_lost_connection_ends_all_commands(own):
    server = own()

    async def work(host):
        process = await host.start("exec cat")
        await process.write(b"x")
        assert await process.read() == b"x"
        server.cut()
        assert await process.read() == b""
        assert await process.wait() == -1
        with pytest.raises(OSError, match=r"|closed"):
            await write_on(process)
        with pytest.raises(RunnerError, match=r"^The connection to \S+ was lost\.$"):
            await host.start("true")

    on(server, work)


def test_a_host_that_allows_no_more_commands_says_so(server):
    async def work(host):
        kept = [await host.start("exec cat") for _ in range(3)]
        with pytest.raises(RunnerError, match="gpu1 refuses to run commands") as caught:
            await host.start("exec cat")
        assert "MaxSessions" in caught.value.hint
        for process in kept:
            process.close()

    on(server, work)


def test_a_connection_holds_no_small_message_back(server):
    async def work(host):
        sock = host._link.transport.sock
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert on(server, work)


def test_agent_is_reached_and_outlives_the_connection(server, tmp_path):
    state = tmp_path / "state"

    async def main():
        options = Options(state=str(state), is_starting=False)
        way = ssh_way(parse(server.target), config=server.config, options=options)
        with pytest.raises(NoAgentError):
            await onlooker.ask(way, "status")
        await LocalWay(state).dial()
        for _ in range(2):
            assert (await onlooker.ask(way, "status"))["version"] == hotloop.__version__
        await onlooker.ask(way, "shutdown")
        await way.close()

    asyncio.run(asyncio.wait_for(main(), 30))


# --- host keys


def test_unknown_key_is_refused_where_nobody_can_be_asked(server, tmp_path):
    with settings(server, tmp_path, UserKnownHostsFile=tmp_path / "none") as config:
        error = refused(server, config=config)

    shown = subprocess.run(["ssh-keygen", "-lf", f"{server.host_key}.pub"], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] in error.message
    assert f"ssh -p {server.port} {getpass.getuser()}@127.0.0.1 true" in error.hint
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("hashing", ["yes", "no"])
def test_unknown_key_is_asked_about_once(server, tmp_path, hashing):
    answers = Answers(confirm=True)
    known = tmp_path / "ssh" / "known_hosts"
    with settings(server, tmp_path, UserKnownHostsFile=known, HashKnownHosts=hashing) as config:

        async def both(host):
            connector = Connector(parse(server.target), config=config, questions=answers)
            await asyncio.gather(*[connect_and_leave(connector) for _ in range(2)])

        on(server, both, config=config, questions=answers)

    assert len(answers.asked) == 1
    assert "SHA256:" in answers.asked[0]
    assert ("|1|" in known.read_text()) == (hashing == "yes")
    found = subprocess.run(["ssh-keygen", "-F", f"[127.0.0.1]:{server.port}", "-f", str(known)], check=False)
    assert found.returncode == 0
    assert known.stat().st_mode & 0o777 == 0o600


async def connect_and_leave(connector):
    await (await connect("gpu1", connector)).close()


def test_key_that_the_user_does_not_accept_is_not_added(server, tmp_path):
    with settings(server, tmp_path, UserKnownHostsFile=tmp_path / "none") as config:
        error = refused(server, config=config, questions=Answers(confirm=False))

    assert "was not accepted" in error.message
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_changed_key_is_refused_whatever_the_user_says(server, tmp_path, kind):
    known = tmp_path / "known_hosts"
    key = Path(f"{make_key(tmp_path / 'other', kind=kind)}.pub").read_text()
    known.write_text(f"# mine\nother.example {key}[127.0.0.1]:{server.port} {key}")
    answers = Answers(confirm=True)
    with settings(server, tmp_path, UserKnownHostsFile=known) as config:
        error = refused(server, config=config, questions=answers)

    assert "has CHANGED" in error.message
    assert f"{known}:3" in error.message
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{server.port}'" in error.hint
    assert not answers.asked


@pytest.mark.parametrize(
    ("marker", "expected"), [("@revoked", "is revoked by"), ("@cert-authority", "only through a certificate authority")]
)
def test_marked_lines_of_known_hosts(server, tmp_path, marker, expected):
    known = tmp_path / "known_hosts"
    public = Path(f"{server.host_key}.pub").read_text()
    known.write_text(f"{marker} * {public}")
    with settings(server, tmp_path, UserKnownHostsFile=known) as config:
        error = refused(server, config=config, questions=Answers(confirm=True))
    assert expected in error.message

    if marker == "@cert-authority":  # beside the host's own key it does no harm
        known.write_text(f"{marker} * {public}garbage\n[127.0.0.1]:{server.port} {public}")
        with settings(server, tmp_path, UserKnownHostsFile=known) as config:
            assert on(server, said, config=config)[0] == b"there\n"


def test_key_is_known_by_an_alias_and_asked_for_by_its_type(own, tmp_path):
    second = make_key(tmp_path / "rsa", kind="rsa")
    server = own(options=f"HostKey {second}")
    known = tmp_path / "known_hosts"
    known.write_text(f"gpus.example {Path(f'{second}.pub').read_text()}")
    text = f"Host gpu\n  HostName 127.0.0.1\n  Port {server.port}\n  HostKeyAlias gpus.example"
    with settings(server, tmp_path, text, UserKnownHostsFile=known) as config:
        assert on(server, said, target=f"{getpass.getuser()}@gpu", config=config)[0] == b"there\n"


# --- who logs in


def test_user_that_is_not_let_in(server):
    error = refused(server, target=f"nobody-here@127.0.0.1:{server.port}")

    assert f"nobody-here@127.0.0.1 port {server.port} does not accept {server.key}" in error.message
    assert "publickey" in error.message
    assert "is nobody-here the right user?" in error.hint


def test_user_without_any_key(server, tmp_path):
    with settings(server, tmp_path, IdentityFile=tmp_path / "none") as config:
        error = refused(server, config=config)

    assert "no key: none was found here" in error.message
    assert "ssh-keygen" in error.hint


def test_encrypted_key_is_unlocked_once(own, tmp_path):
    server = own()
    key = make_key(tmp_path / "locked", passphrase="secret")
    shutil.copy(f"{key}.pub", server.folder / "authorized_keys")
    with settings(server, tmp_path, IdentityFile=key) as config:
        error = refused(server, config=config)
        answers = Answers(secrets=["wrong", "secret"])

        async def main():
            connector = Connector(parse(server.target), config=config, questions=answers)
            await asyncio.gather(connect_and_leave(connector), connect_and_leave(connector))

        asyncio.run(main())

    assert "has a passphrase, and no agent holds it" in error.message
    assert f"ssh-add {key}" in error.hint
    assert len(answers.asked) == 2
    assert answers.asked[1].startswith("Wrong. ")


def test_agent_and_certificates(own, tmp_path):
    authority = make_key(tmp_path / "authority")
    server = own(options=f"TrustedUserCAKeys {authority}.pub")
    (server.folder / "authorized_keys").unlink()
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", getpass.getuser(), f"{server.key}.pub"]
    subprocess.run(sign, check=True)
    notes = []

    def note(step, text):
        notes.append((step, text))

    assert on(server, said, note=note)[0] == b"there\n"
    assert notes[-1] == ("login", f"as {getpass.getuser()} with {server.key}-cert.pub")

    (server.folder / "id-cert.pub").unlink()
    shutil.copy(f"{server.key}.pub", server.folder / "authorized_keys")
    with running_agent(tmp_path) as agent:
        subprocess.run(["ssh-add", "-q", str(server.key)], env={"SSH_AUTH_SOCK": str(agent), **os.environ}, check=True)
        with settings(server, tmp_path, IdentityFile="none", IdentitiesOnly="no", IdentityAgent=agent) as config:
            assert on(server, said, config=config, note=note)[0] == b"there\n"
    assert notes[-1] == ("login", f"as {getpass.getuser()} with the agent's {server.key.name}")


@contextlib.contextmanager
def running_agent(folder):
    path = folder / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 5
        while not path.exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait(5)


# --- the way there


def test_through_other_hosts(own, server, tmp_path):
    first, second = own("first"), own("second")
    for jump in (first, second):
        shutil.copy(server.folder / "authorized_keys", jump.folder / "authorized_keys")
    known = tmp_path / "known_hosts"
    known.write_text("".join(each.known_hosts.read_text() for each in (first, second, server)))
    user = getpass.getuser()
    jumps = f"{user}@127.0.0.1:{first.port},{user}@127.0.0.1:{second.port}"
    with settings(server, tmp_path, f"Match host gpu\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump {jumps}",
                  UserKnownHostsFile=known) as config:  # fmt: skip
        assert on(server, lambda host: said(host, "echo $SSH_CONNECTION"), target=f"{user}@gpu", config=config)[1] == 0

    jump = f"Host gpu\n  HostName 127.0.0.1\n  Port {first.port}\n  ProxyJump {user}@127.0.0.1:{server.port}"
    with settings(server, tmp_path, jump, UserKnownHostsFile=known) as config:  # which forwards nothing
        error = refused(server, target=f"{user}@gpu", config=config)
    assert f"does not lead on to 127.0.0.1 port {first.port}" in error.message
    assert "AllowTcpForwarding" in error.hint


def test_jumps_in_a_circle_are_the_users(server, tmp_path):
    circle = "Host one\n  ProxyJump two\nHost two\n  ProxyJump one"
    with settings(server, tmp_path, circle) as config, pytest.raises(UsageError, match="circle"):
        on(server, said, target="ssh://one", config=config)


def test_proxy_command(server, tmp_path):
    relay = "bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'"
    with settings(server, tmp_path, ProxyCommand=relay) as config:
        assert on(server, said, config=config)[0] == b"there\n"
    with settings(server, tmp_path, ProxyCommand="false %h") as config:
        error = refused(server, config=config)
    assert "The ProxyCommand for" in error.message
    assert "false 127.0.0.1" in error.hint


def test_settings_without_the_program_ssh(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with settings(server, tmp_path, f"Host gpu\n  HostName 127.0.0.1\n  Port {server.port}") as config:
        assert on(server, said, target=f"{getpass.getuser()}@gpu", config=config)[0] == b"there\n"


def test_wrong_settings_are_the_users(server, tmp_path):
    with (
        settings(server, tmp_path, NoSuchSetting="1") as config,
        pytest.raises(UsageError, match="ssh refuses its configuration"),
    ):
        on(server, said, config=config)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("no-such-host.invalid", "is no host that this machine knows"), ("127.0.0.1", "refuses connections")],
)
def test_host_that_is_not_there(server, host, expected):
    assert expected in refused(server, target=f"me@{host}:{free_port()}").message


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [(b"", "closed the connection before it said who it is"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "")],
    ids=["hangs up", "another server"],
)
def test_server_that_speaks_no_ssh(server, greeting, expected):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)

        threading.Thread(target=answer, daemon=True).start()
        error = refused(server, target=f"me@127.0.0.1:{listener.getsockname()[1]}")

    assert expected in error.message


def test_host_that_does_not_answer_is_given_up(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):  # what it has not accepted fills its queue
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with settings(server, tmp_path, ConnectTimeout=1) as config:
            error = refused(server, target=f"me@127.0.0.1:{listener.getsockname()[1]}", config=config)

    assert "does not answer within 1 s" in error.message


def test_connecting_can_be_given_up_at_once(server):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = parse(f"me@127.0.0.1:{listener.getsockname()[1]}")
            connecting = asyncio.create_task(connect("gpu1", Connector(target, config=server.config)))
            await asyncio.sleep(0.3)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting

    began_s = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - began_s < 10  # of the 15 s that a handshake may take


# --- doctor, and a terminal


def test_shell_that_prints_and_dawdles_is_told_of(own):
    server = own()
    (server.home / ".bashrc").write_text("echo Welcome to the machine; sleep 1.1\n")
    findings = []

    on(server, lambda host: doctor.look_at_host(host, findings.append))

    by_step = {finding.step: finding for finding in findings}
    assert by_step["banner"].state == "note"
    assert "Welcome to the machine" in by_step["banner"].text
    assert by_step["exec"].state == "note"
    assert by_step["python"].state in {"ok", "note"}
    assert "GB free" in by_step["disk"].text


def test_key_is_asked_about_on_a_terminal(own, tmp_path):
    server = own()
    server.known_hosts.unlink()
    home = tmp_path / "client"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(server.config, home / ".ssh/config")
    command = [sys.executable, "-m", "hotloop.cli.main", "runner", "doctor", server.target]
    ours, theirs = pty.openpty()
    environ = {**os.environ, "HOME": str(home)}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(ours, 4096):
            shown += data
            if shown.endswith(b"(yes/no) "):
                os.write(ours, b"yes\n")
    os.close(ours)

    assert process.wait(10) == 0, shown
    assert b"accepted now" in shown
    assert server.known_hosts.exists()
