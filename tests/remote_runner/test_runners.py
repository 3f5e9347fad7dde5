"""What is said of runners: names, targets, ssh's settings, known hosts, and what doctor makes of a machine."""

import base64
from pathlib import Path

import pytest

from hotloop.errors import UsageError
from hotloop.remote_runner import doctor, runners
from hotloop.remote_runner.runners import Runner
from hotloop.remote_runner.ssh import known_hosts
from hotloop.remote_runner.ssh.known_hosts import Verdict
from hotloop.remote_runner.ssh.settings import from_words
from hotloop.remote_runner.ssh.target import SshTarget, parse

# --- targets


@pytest.mark.parametrize(
    ("text", "target", "shown"),
    [
        ("me@gpu1", SshTarget("gpu1", "me"), "me@gpu1"),
        ("ssh://gpu1", SshTarget("gpu1"), "ssh://gpu1"),
        ("ssh://me@10.0.0.1:2222/", SshTarget("10.0.0.1", "me", 2222), "ssh://me@10.0.0.1:2222"),
        ("ssh://me@[fe80::1%eth0]:22", SshTarget("fe80::1%eth0", "me", 22), "ssh://me@[fe80::1%eth0]:22"),
        ("me@::1", SshTarget("::1", "me"), "me@::1"),
        ("me@[gpu1]:22", SshTarget("gpu1", "me", 22), "ssh://me@gpu1:22"),
        ("corp\\me@host", SshTarget("host", "corp\\me"), "corp\\me@host"),
    ],
)
def test_target_is_read(text, target, shown):
    assert parse(text) == target
    assert target.shown == shown
    assert parse(target.url) == target


@pytest.mark.parametrize(
    "text",
    ["", "@gpu1", "me@", "ssh://", "-oProxyCommand=x@h", "me@-oX", "ssh://h:0", "ssh://h:65536", "ssh://h:x", "h;ls",
     "me@$(x)", "ssh://me@h/path", "ssh://[::1"],
)  # fmt: skip
def test_what_is_no_target_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse(text)

    assert "ssh://user@host:port" in caught.value.hint


# --- names


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.usefixtures("own_settings")
def test_project_counts_before_the_user():
    user = {"gpu1": Runner("gpu1", "me@old", python="3.11"), "gpu2": Runner("gpu2", "docker://python", gpus="all")}
    runners.save(user)
    project = runners.from_tables({"gpu1": {"target": "me@new"}}, "pyproject.toml")

    assert runners.load() == user
    assert runners.find("gpu1", project) == Runner("gpu1", "me@new")
    assert runners.find("gpu2", project) == user["gpu2"]
    assert runners.find("local", project).is_local
    assert runners.find("ssh://me@gpu9", project) == Runner("ssh://me@gpu9", "ssh://me@gpu9")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"target": "ftp://x"}, "names no machine"),
        ({"target": "docker://"}, "image"),
        ({"target": "me@h", "port": "22"}, r"gpu1.port is not a setting"),
        ({"target": "me@h", "python": 3}, "a string was expected"),
        ({"target": "me@h", "python": "3.12; rm -r x"}, "a version or an interpreter was expected"),
        ({"target": "me@h", "python": "$(id)"}, "a version or an interpreter was expected"),
        ({"target": "me@h", "python": "python '3"}, "a version or an interpreter was expected"),
        ({"python": "3.12"}, "needs a target or a dockerfile"),
        ("me@h", "a table was expected"),
    ],
)
def test_what_is_wrong_of_a_runner_is_named(table, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        runners.from_tables({"gpu1": table}, "pyproject.toml: tool.hotloop.runners")

    assert caught.value.hint


@pytest.mark.parametrize("python", ["3", "3.12", "3.12.4", "python3.12", "/opt/py-3/bin/python", "~/conda/bin/python"])
def test_a_python_is_a_version_or_an_interpreter(python):
    assert runners.from_table("gpu1", {"target": "me@h", "python": python}, "runner").python == python


# --- ssh's settings


def test_settings_of_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    words = {
        "hostname": ["10.0.0.7"], "port": ["2222"], "user": ["bob"], "identityfile": ["~/.ssh/%r_%h", "none"],
        "proxyjump": ["me@a:22,b"], "proxycommand": ["nc %h %p %%"], "userknownhostsfile": ["~/known /other"],
        "connecttimeout": ["3"], "stricthostkeychecking": ["yes"], "identitiesonly": ["yes"],
    }  # fmt: skip

    settings = from_words(SshTarget("gpu1"), words)

    assert (settings.host, settings.port, settings.user) == ("10.0.0.7", 2222, "bob")
    assert settings.identity_files == (tmp_path / ".ssh/bob_10.0.0.7",)
    assert settings.jumps == (SshTarget("a", "me", 22), SshTarget("b"))
    assert settings.proxy_command == "nc 10.0.0.7 2222 %"
    assert settings.user_known_hosts == (tmp_path / "known", Path("/other"))
    assert (settings.agent, settings.connect_timeout_s) == ("/run/agent", 3.0)
    assert settings.is_identities_only
    assert not settings.is_asking
    assert settings.known_as == "[10.0.0.7]:2222"
    assert from_words(SshTarget("gpu1", "me", 22), words).known_as == "10.0.0.7"
    assert from_words(SshTarget("Gpu1"), {"identityagent": ["none"], "hostkeyalias": ["G"]}).agent == ""


# --- known hosts


def key(kind, content):
    return len(kind).to_bytes(4) + kind.encode() + content


ED, RSA, OTHER = key("ssh-ed25519", b"1"), key("ssh-rsa", b"2"), key("ssh-ed25519", b"3")
HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="  # 192.168.1.61, from paramiko's own tests


def lines(*texts):
    keys = {"ED": ED, "RSA": RSA, "OTHER": OTHER}
    filled = []
    for text in texts:
        start, _, name = text.rpartition(" ")
        found = keys[name]
        filled.append(f"{start} {known_hosts.type_of(found)} {base64.b64encode(found).decode()} comment")
    return known_hosts.parse(Path("known_hosts"), "\n".join(["# a comment", "", "garbage", "h ssh-rsa !!!", *filled]))


@pytest.mark.parametrize(
    ("texts", "name", "shown", "verdict", "number"),
    [
        (["a ED"], "a", ED, Verdict.KNOWN, 5),
        (["a OTHER", "a ED"], "a", ED, Verdict.KNOWN, 6),
        (["b,a,c ED"], "a", ED, Verdict.KNOWN, 5),
        (["*.example ED"], "x.example", ED, Verdict.KNOWN, 5),
        (["*.example,!x.example ED"], "x.example", ED, Verdict.UNKNOWN, None),
        ([f"{HASHED} ED"], "192.168.1.61", ED, Verdict.KNOWN, 5),
        ([f"{HASHED} ED"], "192.168.1.62", ED, Verdict.UNKNOWN, None),
        (["[a]:22 ED"], "[a]:22", ED, Verdict.KNOWN, 5),
        (["a]:22 ED"], "[a]:22", ED, Verdict.UNKNOWN, None),
        (["a RSA", "a OTHER"], "a", ED, Verdict.CHANGED, 6),
        (["a RSA"], "a", ED, Verdict.CHANGED, 5),
        (["a ED", "@revoked * ED"], "a", ED, Verdict.REVOKED, 6),
        (["@revoked * OTHER"], "a", ED, Verdict.UNKNOWN, None),
        (["@cert-authority *.example OTHER"], "x.example", ED, Verdict.ONLY_CERTIFIED, 5),
        (["@cert-authority *.example ED"], "x.example", ED, Verdict.ONLY_CERTIFIED, 5),
        ([], "a", ED, Verdict.UNKNOWN, None),
    ],
)
def test_what_is_known_of_a_key(texts, name, shown, verdict, number):
    found, line = known_hosts.judge(lines(*texts), name, shown)

    assert found is verdict
    assert (line.number if line is not None else None) == number


def test_host_with_a_port_is_known_without_it_by_the_same_key_alone():
    known = lines("a ED")

    assert known_hosts.judge(known, "[a]:22", ED, other_name="a")[0] is Verdict.KNOWN
    assert known_hosts.judge(known, "[a]:22", OTHER, other_name="a")[0] is Verdict.UNKNOWN


def test_algorithms_of_known_keys_come_first():
    usual = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")

    assert known_hosts.algorithms_first(lines("a RSA", "b ED"), ["a"], usual) == [*usual[2:], *usual[:2]]


def test_key_is_added_after_a_line_without_an_end(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text("a ssh-rsa AAAA")

    known_hosts.add(file, "[b]:22", ED)
    known_hosts.add(file, "c", RSA, is_hashing=True)

    known = known_hosts.read([file, tmp_path / "none"])
    assert [line.number for line in known] == [1, 2, 3]
    assert known_hosts.judge(known, "[b]:22", ED)[0] is Verdict.KNOWN
    assert known_hosts.judge(known, "c", RSA)[0] is Verdict.KNOWN


# --- doctor


@pytest.mark.parametrize(
    ("found", "states"),
    [
        ({"python": "3.12.1", "free": "9000000", "gpu": "A10G, 24 GiB;"}, ["ok", "ok", "ok"]),
        ({"python": "3.10.1", "free": "152587"}, ["note", "ok", "ok"]),
        ({"python": "", "uv": "/bin/uv", "free": "146000"}, ["note", "failed", "ok"]),
        ({"python": "what", "free": ""}, ["note", "note", "ok"]),
    ],
)
def test_what_doctor_makes_of_a_machine(found, states):
    assert [finding.state for finding in doctor.findings_of(found)] == states
