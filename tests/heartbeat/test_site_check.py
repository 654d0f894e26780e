"""Every error of a site file: one sentence, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.site.load import SiteError, parse
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.pitfalls import warnings

GOOD = """
[site]
name = "s"
key = { env = "KEY" }
[servers.m1]
listen = "tcp:127.0.0.1:5061"
sip = "udp:127.0.0.1:5060"
beat = "udp:127.0.0.1:5062"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5061"
sip = "udp:127.0.0.2:5060"
beat = "udp:127.0.0.2:5062"
[agents.a]
sip = "udp:127.0.0.11:5060"
[agents.b]
sip = "udp:127.0.0.12:5060"
[lines.t]
kind = "trunk"
agent = "a"
channels = 3
peer = "sip:127.0.0.21"
[lines.p]
kind = "phone"
agent = "a"
numbers = "1001"
password = { env = "KEY" }
[groups.g]
lines = ["t", "p"]
[[routes]]
match = "0*"
to = "t"
[[routes]]
match = "*"
to = "g"
"""
TRUNK = '[lines.u]\nkind = "trunk"\nchannels = 1\npeer = "sip:127.0.0.22"\n'
PHONE = '[lines.q]\nkind = "phone"\nagent = "a"\npassword = { env = "KEY" }\n'


def errors(text: str) -> list[str]:
    try:
        parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef"})
    except SiteError as error:
        return list(error.complaints)
    return []


def test_the_good_one_is_good():
    assert errors(GOOD) == []


REPLACED = [
    # One value
    ("channels = 3", "channels = 0", "lines.t.channels: must be at least 1, is 0"),
    ("channels = 3", "channels = 1_000_000", "lines.t.channels: must be at most 100000, is 1000000"),
    ("channels = 3", "channels = 1.5", "lines.t.channels: must be a whole number, is 1.5"),
    ("channels = 3", "channels = true", "lines.t.channels: must be a whole number, is True"),
    ("channels = 3", "channel = 3", "lines.t.channel: is not known: did you mean channels?"),
    ("channels = 3", "", "lines.t.channels: is missing: say how many calls at once the trunk carries"),
    ("channels = 3", 'channels = 3\ncps = "1"', "lines.t.cps: must be a number, is '1'"),
    ("channels = 3", "channels = 3\ncps = nan", "lines.t.cps: must be a number, is nan"),
    (
        "channels = 3",
        'channels = 3\nmedia = "proxy"',
        "lines.t.media: must be direct, relay or rtpengine, is 'proxy'",
    ),
    (
        "channels = 3",
        'channels = 3\ntransfer = "server"',
        "lines.t.transfer: must be pass, serve or refuse, is 'server'",
    ),
    ('kind = "trunk"', "", "lines.t.kind: is missing"),
    ('kind = "trunk"', "kind = 7", "lines.t.kind: must be trunk, phone, station, web or direct, is 7"),
    ('name = "s"', "name = 7", "site.name: must be a text in quotes, is 7"),
    ('name = "s"', 'name = "a b"', "site.name: must be 1 to 32 letters, digits, underscores, dots or hyphens"),
    (
        'key = { env = "KEY" }\n[s',
        'key = { env = "KEY", file = "x" }\n[s',
        'site.key: must be {secret = "NAME"}, {env = "NAME"} or {file = "PATH"}, and nothing else',
    ),
    (
        '"sip:127.0.0.21"',
        '["sip:127.0.0.21", 7]',
        "lines.t.peer[2]: must be a text in quotes, is 7",
    ),
    (
        '"sip:127.0.0.21"',
        '"127.0.0.21"',
        "lines.t.peer: must be like sip:192.0.2.1:5060 or sip:carrier.example;transport=tls, is '127.0.0.21'",
    ),
    (
        'numbers = "1001"',
        'numbers = ["1 1"]',
        "lines.p.numbers: must be 1 to 64 letters, digits or any of + * # _ . ! -, is '1 1'",
    ),
    (
        'listen = "tcp:127.0.0.1:5061"',
        'listen = "udp:127.0.0.1:5061"',
        "servers.m1.listen: must be TCP or TLS between agents and servers, is udp:127.0.0.1:5061",
    ),
    (
        'beat = "udp:127.0.0.1:5062"',
        'beat = "tcp:127.0.0.1:5062"',
        "servers.m2.beat: must be by the transport of the other server's, tcp:127.0.0.1:5062, is udp",
    ),
    (
        'beat = "udp:127.0.0.1:5062"',
        'beat = "ws:127.0.0.1:5062"',
        "servers.m1.beat: must be UDP, TCP or TLS between servers, is ws:127.0.0.1:5062",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = "udp:127.0.0.11:5060"\nadvertise = "x/y"',
        "agents.a.advertise: must be a host, with or without a port, is 'x/y'",
    ),
    ("channels = 3", 'channels = 3\nregister = ["secret"]', "lines.t.register: must be a table, is a list"),
    (
        'listen = "tcp:127.0.0.1:5061"',
        'listen = "tls:127.0.0.1:5061"',
        "servers.m1.tls: is missing: tls:127.0.0.1:5061 needs a certificate and its key, like { certificate =",
    ),
    (
        '"sip:127.0.0.21"',
        '"sips:127.0.0.21"',
        "agents.a.sip: has no tls: listener, and lines.t is by TLS: its peer has to find one in Contact",
    ),
    (
        '"sip:127.0.0.21"',
        '"sip:127.0.0.21;transport=TLS"',
        "lines.t.peer: may have only ;transport=udp, ;transport=tcp or ;transport=tls, is",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = ["udp:127.0.0.11:5060", "tls:127.0.0.11:5061"]',
        "agents.a.tls: is missing: tls:127.0.0.11:5061 needs a certificate and its key",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = "udp:127.0.0.11:5060"\nadvertise_by = { tls = "x.example" }',
        "agents.a.advertise_by.tls: is no transport of agents.a.sip",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = "udp:127.0.0.11:5060"\ntls = { certificate = "a.pem" }',
        "agents.a.tls.key: is missing",
    ),
    (
        "channels = 3",
        'channels = 3\ncertificate = "x.example"',
        "lines.t.certificate: is only for TLS, and",
    ),
    (
        "[lines.p]",
        """[lines.q]
kind = "trunk"
agent = "a"
peer = "sip:b.example;transport=tls"
channels = 1
certificate = ["x.example", "y.example"]
[lines.r]
kind = "trunk"
agent = "a"
peer = "sip:c.example;transport=tls"
channels = 1
certificate = "Y.example"
[lines.p]""",
        "lines.r.certificate: y.example is that of lines.q: tell them apart by `from`",
    ),
    ("channels = 3", 'channels = 3\nca = "x.pem"', "lines.t.ca: is only for a peer that is reached by TLS"),
    (
        "channels = 3",
        'channels = 3\naddress = "127.0.0.99"',
        "lines.t.address: is 127.0.0.99, and agents.a.sip",
    ),
    ('numbers = "1001"', 'address = "127.0.0.11"', "lines.p.address: is only for trunks"),
    ('numbers = "1001"', 'ca = "x.pem"', "lines.p.ca: is only for trunks"),
    ('name = "s"', 'name = "s"\nrealm = "sip:s.example"', "site.realm: must be a host, with or without a port, is"),
    ("[agents.b]", '[agents.b]\nstate = "a\\u0000b"', "agents.b.state: must be a path, is 'a\\x00b'"),
    ("[agents.b]", '[agents.b]\napi = "unix:\\u0000"', "agents.b.api: must be a path, is '\\x00'"),
    ("[agents.b]", '[agents.b]\napi_token = { file = "\\u0000" }', "agents.b.api_token: must be a path, is"),
    (
        "[agents.b]",
        '[trace]\ncollector = "tcp:127.0.0.9:9060"\n[agents.b]',
        "trace.collector: must be by UDP, is tcp",
    ),
    (
        "[agents.b]",
        '[trace]\ncollector_lines = "nowhere"\n[agents.b]',
        "trace.collector_lines: names nowhere, and there",
    ),
    ("[agents.b]", "[trace]\nmemory = 65\n[agents.b]", "trace.memory: must be at most 64, is 65"),
    # What must be there
    ('listen = "tcp:127.0.0.1:5061"', "", "servers.m1.listen: is missing: say where agents connect, like"),
    ('beat = "udp:127.0.0.1:5062"', "", "servers.m1.beat: is missing: two servers need it"),
    ('sip = "udp:127.0.0.11:5060"', "", "agents.a.sip: is missing: say where its devices send requests"),
    ('peer = "sip:127.0.0.21"', 'peer = "sip:127.0.0.21"\ndigest = "MD5"', "lines.t.digest: is only for phones"),
    ('numbers = "1001"', 'station = { answer = "by-order" }', "lines.p.station: is only for stations"),
    (
        'kind = "phone"',
        'kind = "station"\nstation = { play = "tone", file = "x.wav" }',
        "lines.p.station.file: stands beside play: say one of them",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = "tcp:127.0.0.11:5060"\n[lines.s]\nkind = "station"\nagent = "a"',
        "agents.a.sip: has no udp: listener, at which the station s registers",
    ),
    (
        'kind = "phone"',
        'kind = "station"\nstation = { api = "unix:/run/p.sock" }',
        "lines.p.station.api: must be like tcp:127.0.0.1:8090: it has a UNIX socket in any case",
    ),
    (
        'kind = "phone"',
        'kind = "station"\nstation = { api = "tcp:127.0.0.11:8090" }',
        "agents.a.api_token: is missing: lines.p.station.api needs a token",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = "udp:127.0.0.11:5060"\napi = "tcp:127.0.0.11:8090"\n'
        '[lines.s]\nkind = "station"\nagent = "a"\nstation = { api = "tcp:127.0.0.11:8090" }',
        "lines.s.station.api: listens at tcp:127.0.0.11:8090, and agents.a.api listens at tcp:127.0.0.11:8090",
    ),
    (
        'kind = "phone"',
        'kind = "station"\nstation = { probe = "+331", probe_every = 10 }',
        "lines.p.station.probe_every: must be at least 30, is 10",
    ),
    ("channels = 3", "channels = 3\nkeep_alive = 10", "lines.t.keep_alive: is only for phones"),
    ('numbers = "1001"', "nat = true", "lines.p.nat: is only for trunks"),
    ('numbers = "1001"', "answer_within = 33", "lines.p.answer_within: must be at most 32, is 33"),
    ('numbers = "1001"', 'srtp = "sdes"', 'lines.p.srtp: is only for media = "relay", for SRTP ends there'),
    ('numbers = "1001"', "media_timeout = 30", 'lines.p.media_timeout: is only for media = "relay"'),
    (
        'numbers = "1001"',
        'media = "relay"\nmedia_timeout = 2',
        "lines.p.media_timeout: must be 0 or at least 5, is 2",
    ),
    ('numbers = "1001"', "digest = []", "lines.p.digest: must name one way of hashing at least, and none twice"),
    ('numbers = "1001"', 'digest = ["MD5", "MD5"]', "lines.p.digest: must name one way of hashing at least"),
    ('numbers = "1001"', 'digest = "SHA-1"', "lines.p.digest: must be SHA-512-256, SHA-256 or MD5, is 'SHA-1'"),
    ('peer = "sip:127.0.0.21"', "", "lines.t.peer: is missing: say where the trunk's calls are sent"),
    (
        '"sip:127.0.0.21"',
        '"sip:carrier.example"',
        "lines.t.from: is missing: the peer is a name, so say which addresses its requests come from",
    ),
    (
        '[agents.b]\nsip = "udp:127.0.0.12:5060"',
        '[agents.b]\nsip = "udp:0.0.0.0:5060"',
        "agents.b.advertise: is missing: it listens at all addresses, so say which one others reach it at",
    ),
    (
        "[agents.b]",
        '[agents.b]\napi = "tcp:127.0.0.1:8080"',
        "agents.b.api_token: is missing: an API over TCP needs a token",
    ),
    ("[agents.b]", f'[agents.b]\napi = "unix:{"x" * 120}"', "agents.b.api: is /etc/xxxxxx"),
    # Names
    ('agent = "a"', 'agent = "aa"', "lines.t.agent: names aa, and there is no such agent: did you mean a?"),
    ('to = "t"', 'to = "tt"', "routes[1].to: names tt, and there is no such line or group: did you mean t?"),
    ('to = "t"', 'to = "t"\nfrom = "zz"', "routes[1].from: names zz, and there is no such line or group"),
    (
        "[agents.b]",
        "[agents.m1]",
        "agents.m1: has a name that is taken: servers.m1 is there too",
    ),
    ("[groups.g]", "[groups.p]", "groups.p: has a name that is taken: lines.p is there too"),
    ("[groups.g]", '[groups."g h"]', "groups.g h: has a name that is not 1 to 32 letters, digits"),
    # Servers and votes
    ('role = "standby"', "", 'servers: must have exactly one with role = "main", have 2'),
    (
        '[servers.m1]\nlisten = "tcp:127.0.0.1:5061"',
        '[servers.m1]\nrole = "standby"\nlisten = "tcp:127.0.0.1:5061"',
        'servers: may have one with role = "standby", have 2',
    ),
    ("[site]", '[failover]\nvoters = ["a", "c"]\n[site]', "failover.voters: names c, and there is no such agent"),
    ("[site]", '[failover]\nvoters = ["a", "a"]\n[site]', "failover.voters: names an agent twice"),
    (
        "[site]",
        '[failover]\nvoters = ["a", "b", "c", "d", "e", "f", "g", "h"]\n[site]',
        "failover.voters: may name at most 7 agents, names 8",
    ),
    (
        "[site]",
        "[failover]\nquorum = 1\n[site]",
        "failover.quorum: must be over half of the 3 votes and not more than all, is 1",
    ),
    (
        "[site]",
        "[timing]\nlease = 0.6\n[site]",
        "timing: lease is 0.6 s; to survive 2 lost beats it must be over 0.7 s",
    ),
    ("[site]", "[timing]\nmargin = 0.01\n[site]", "timing: margin is 0.01 s"),
    ("[site]", "[timing]\ninterval = 0.01\n[site]", "timing.interval: must be at least 0.05, is 0.01"),
    # Addresses
    (
        "udp:127.0.0.12:5060",
        "udp:127.0.0.11:5060",
        "agents.b.sip: listens at udp:127.0.0.11:5060, and agents.a.sip listens at udp:127.0.0.11:5060",
    ),
    (
        'sip = "udp:127.0.0.11:5060"',
        'sip = ["udp:127.0.0.11:5060", "udp:0.0.0.0:5060"]\nadvertise = "127.0.0.11"',
        "agents.a.sip: listens at udp:0.0.0.0:5060, and agents.a.sip listens at udp:127.0.0.11:5060",
    ),
    # Lines
    (
        "[agents.b]",
        "[agents.b]\nrtp.ports = [30000, 20000]",
        "agents.b.rtp.ports: must be a range of two ports at least, is 30000 to 20000",
    ),
    ("[agents.b]", "[agents.b]\nrtp.ports = 30000", "agents.b.rtp.ports: must be a list of 2, has 1"),
    ("channels = 3", 'channels = 3\npassword = { env = "P" }', "lines.t.user: is missing: say whose the password is"),
    ("channels = 3", 'channels = 3\nfrom_user = "account"', "lines.t.from_user: there is no account: say its user"),
    ('numbers = "1001"', 'domain = "carrier.example"', "lines.p.domain: is only for trunks"),
    ('numbers = "1001"', 'called_from = "to"', "lines.p.called_from: is only for trunks"),
    (
        "channels = 3",
        'channels = 3\nto_device.headers = [{ remove = "X-A", add = "Y: 1" }]',
        "lines.t.to_device.headers[1]: must say one of remove, add, replace",
    ),
    (
        "channels = 3",
        'channels = 3\nto_device.headers = [{ add = "Y: 1", match = "2" }]',
        "lines.t.to_device.headers[1].match: is only for remove and replace",
    ),
    (
        "channels = 3",
        'channels = 3\nfrom_device.headers = [{ remove = "Y", by = "2" }]',
        "lines.t.from_device.headers[1].by: is only for replace",
    ),
    (
        "channels = 3",
        'channels = 3\nfrom_device.headers = [{ remove = "Call-ID" }]',
        "no rule may touch Call-ID: it is the dialog's or the body's",
    ),
    (
        "channels = 3",
        'channels = 3\nfrom_device.headers = [{ add = "f: <sip:a@x>" }]',
        "no rule may touch f: it is the dialog's or the body's",
    ),
    (
        "channels = 3",
        'channels = 3\nfrom_device.headers = [{ add = "X-Site paris" }]',
        "must be like X-Site: paris, is 'X-Site paris'",
    ),
    (
        "channels = 3",
        'channels = 3\nfrom_device.headers = [{ replace = "X-A", match = "(" }]',
        "must be a regular expression, is '('",
    ),
    ("channels = 3", 'channels = 3\nreset_state = "out-of-service"', "lines.t.reset_state: is only for recovery ="),
    (
        "channels = 3",
        "channels = 3\nsession_timer = { expires = 100, min_se = 200 }",
        "lines.t.session_timer.expires: must be at least min_se, 200",
    ),
    (
        "channels = 3",
        'channels = 3\nregister = { registrar = "sip:x", user = "u", password = { env = "KEY" }, retry_most = 1 }',
        "lines.t.register.retry_least: must not be over retry_most, 1",
    ),
    ("channels = 3", "channels = 3\nregister = 3", "lines.t.register: must be a table, is 3"),
    ('numbers = "1001"', 'peer = "sip:127.0.0.1"', "lines.p.peer: is only for trunks"),
    ('numbers = "1001"', 'from = "127.0.0.1"', "lines.p.from: is only for trunks"),
    (
        'agent = "a"\nnumbers = "1001"\npassword = { env = "KEY" }',
        "",
        "lines.p.agent: is missing: phones register with an agent",
    ),
    ('kind = "phone"', 'kind = "direct"', "lines.p.agent: is not for direct telephones, which register with the"),
    (
        'kind = "phone"\nagent = "a"\nnumbers = "1001"\npassword = { env = "KEY" }',
        'kind = "direct"\nnumbers = "1001"',
        'lines.p.password: is missing: say where it is kept, like {env = "ALICE"}',
    ),
    (
        'kind = "phone"\nagent = "a"\n',
        'kind = "direct"\nmedia = "relay"\n',
        "lines.p.media: must be direct without an agent: media never passes a server",
    ),
    (
        'kind = "phone"\nagent = "a"\n',
        'kind = "direct"\nsubscriptions = "pass"\n',
        "lines.p.subscriptions: are not for direct telephones: no agent is there to notify for them",
    ),
    (
        'kind = "phone"\nagent = "a"\n',
        'kind = "direct"\npeer = "sip:127.0.0.3"\n',
        "lines.p.peer: is only for trunks",
    ),
    (
        'numbers = "1001"\npassword = { env = "KEY" }',
        "",
        'lines.p.password: is missing: say where it is kept, like {env = "ALICE"}',
    ),
    (
        'numbers = "1001"',
        'numbers = "1001"\nforward.always = "1001"',
        "lines.p.forward.always: goes in a ring, p to p",
    ),
    ('"sip:127.0.0.21"', '"sip:127.0.0.2:5061"', "lines.t.peer: is an address of the site itself, servers.m2.listen"),
    (
        "channels = 3",
        'channels = 3\nregister = { registrar = "sip:127.0.0.1:5062", user = "u", password = { env = "KEY" } }',
        "lines.t.register.registrar: is an address of the site itself, servers.m1.beat",
    ),
    # Groups and routes
    ('lines = ["t", "p"]', "lines = []", "groups.g.lines: must name a line"),
    ('lines = ["t", "p"]', 'lines = ["t", "t"]', "groups.g.lines: names a line twice"),
    ('lines = ["t", "p"]', 'lines = ["t", "g"]', "groups.g.lines: names g, and there is no such line"),
    (
        'lines = ["t", "p"]',
        'lines = ["t", "p"]\nweights = { t = 1 }',
        'groups.g.weights: are only for hunt = "weight"',
    ),
    (
        'lines = ["t", "p"]',
        'lines = ["t"]\nhunt = "weight"\nweights = { p = 1 }',
        "groups.g.weights: names p, and there is no such line of the group",
    ),
    ('lines = ["t", "p"]', 'lines = ["t"]\nweights = 1', "groups.g.weights: must be a table, is 1"),
    ('to = "t"', "", "routes[1].to: must name lines or groups, or the route must refuse, and not both"),
    ('to = "t"', "refuse = 200", "routes[1].refuse: must be from 400 to 699, is 200"),
    ('match = "0*"', 'match = "*"', "routes[2].match: is never used: routes[1] takes * already"),
    ('match = "0*"', 'match = "0["', "routes[1].match: has a [ or ] without its partner: '0['"),
    # Shapes
    ("[agents.b]", "[agentz.b]", "agentz: is not known: did you mean agents?"),
    ("[[routes]]", "[routes]", "is not TOML"),
    ("[site]", "[zzz]\n[site]", "zzz: is not known: here can stand agents, bans, failover, groups, hooks, lines"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), REPLACED)
def test_one_error(old: str, new: str, complaint: str):
    assert old in GOOD
    assert any(complaint in error for error in errors(GOOD.replace(old, new, 1))), errors(GOOD.replace(old, new, 1))


APPENDED = [
    (
        TRUNK + 'agent = "a"\nmedia = "rtpengine"',
        "lines.u.media: is rtpengine, and agents.a.rtpengine does not say where that is",
    ),
    (
        TRUNK + 'media = "rtpengine"',
        "lines.u.media: cannot be rtpengine without an agent: media never passes a server",
    ),
    (
        '[agents.e]\nrtpengine = ["tcp:127.0.0.9:2223"]',
        "agents.e.rtpengine: tcp:127.0.0.9:2223 must be udp:, by which rtpengine is told of calls",
    ),
    (
        '[agents.e]\nrtpengine = ["udp:127.0.0.9:2223", "udp:127.0.0.9:2223"]',
        "agents.e.rtpengine: names a daemon twice",
    ),
    (TRUNK + 'media = "relay"', "lines.u.media: cannot be relay without an agent: media never passes a server"),
    (
        TRUNK + 'agent = "a"\nfrom = ["10.0.0.0/8", "127.0.0.0/24"]',
        "lines.u.from: 127.0.0.0/24 overlaps 127.0.0.21 of lines.t",
    ),
    (
        '[bans]\nnever = ["10.0.0.0/8", "127.0.0.7:5060"]',
        "bans.never: 127.0.0.7:5060 has a port, and a host is banned as a whole: name the address alone",
    ),
    (PHONE + 'numbers = "1001"', "lines.q.numbers: 1001 is a number of lines.p already"),
    (PHONE + 'user = "p"', "lines.q.user: p is the user of lines.p already"),
    (
        '[agents.c]\nsip = "udp:127.0.0.11:5070"\n'
        + PHONE.replace("lines.q", "lines.r")
        + 'media = "relay"\n'
        + PHONE.replace('"a"', '"c"')
        + 'media = "relay"',
        "agents.c.rtp.ports: overlap those of agents.a at 127.0.0.11",
    ),
]


@pytest.mark.parametrize(("text", "complaint"), APPENDED)
def test_one_error_more(text: str, complaint: str):
    assert errors(GOOD + text) == [complaint]


def test_a_source_may_be_split_by_ports_and_agents():
    ports = TRUNK.replace("channels", 'agent = "a"\nfrom = "127.0.0.21:5070"\nchannels')
    first = GOOD.replace("channels = 3", 'channels = 3\nfrom = "127.0.0.21:5060"')
    assert errors(first + ports) == []
    assert errors(GOOD + TRUNK.replace("127.0.0.22", "127.0.0.21")) == []


def test_two_servers_need_an_agent_and_one_server_an_odd_number():
    head = GOOD[: GOOD.index("[agents.a]")]
    assert "agents: are missing: two servers need one agent at least" in errors(head)[0]
    one = GOOD[: GOOD.index("[servers.m2]")] + GOOD[GOOD.index("[agents.a]") :]
    assert errors(one) == []
    assert errors('failover.voters = ["a", "b"]\n' + one) == [
        "failover.voters: must be an odd number, because the site has no stand-by that could vote too"
    ]


def test_own_trunks_need_a_place_for_their_requests():
    text = GOOD.replace('sip = "udp:127.0.0.2:5060"\n', "") + TRUNK
    assert errors(text) == [
        "servers.m2.sip: is missing: there are lines without an agent, whose requests come in there"
    ]


WARNINGS = [
    (
        'match = "0*"',
        'match = "^0[0-9]+$"',
        "routes[1].match: ^0[0-9]+$ looks like a regular expression; here",
    ),
    ('match = "0*"', 'match = "_0[1-9]X."', "routes[1].match: _0[1-9]X. looks like a pattern of Asterisk"),
    (
        "channels = 3",
        'channels = 3\nfrom_device.caller = [{ match = "0.*", strip = 1 }]',
        "lines.t.from_device.caller[1].match: 0.* looks like a regular expression",
    ),
    (
        "[site]",
        "[timing]\ninterval = 2\n[site]",
        "timing.hold_attempt: is 8 s, but a takeover is decided after 8.9 s only: new calls get 503 meanwhile",
    ),
    (
        'numbers = "1001"',
        'numbers = "1001"\nforward.busy = "1001"',
        "lines.p.forward.busy: is a number of the line itself, so it forwards nothing",
    ),
    ('match = "0*"', 'match = "*"\nfrom = "g"', "routes[2]: is never used: routes[1] takes its calls; put it before"),
]
"""What is taken, and warned of."""


@pytest.mark.parametrize(("old", "new", "warning"), WARNINGS)
def test_what_can_hardly_be_meant_is_taken_with_a_warning(old: str, new: str, warning: str):
    text = GOOD.replace('to = "g"', 'to = "t"').replace(old, new, 1)
    text = text.replace('match = "*"\nto', 'match = "1[2-4]*"\nto')
    (found,) = warnings(parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef"}))
    assert found.startswith(warning)


@pytest.mark.parametrize("match", ["1[2-4]*", "*97", "+33*", "a.b", "john.*", "_x", "0?.", "1-2", "[*]"])
def test_patterns_that_are_meant_so_are_not_warned_of(match: str):
    text = GOOD.replace('match = "0*"', f'match = "{match}"')
    assert warnings(parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef"})) == []


def test_a_route_is_used_as_long_as_somebody_can_come_to_it():
    def found(first: str, second: str, who: str = "") -> list[str]:
        text = GOOD.replace('match = "*"', f'match = "{second}"').replace(
            'match = "0*"', f'match = "{first}"{who}', 1
        )
        return warnings(parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef"}))

    for first, second in (("0*", "01*"), ("0*", "0112"), ("*", "?"), ("0[12]", "01")):
        assert len(found(first, second)) == 1
    assert found("01*", "0*") == found("0?*", "0*") == found("0[12]", "03") == found("01", "0[12]") == []
    assert found("0*", "01*", '\nfrom = "p"') == []


def test_all_errors_come_together_and_in_order():
    text = GOOD.replace("channels = 3", "channels = 0").replace('to = "g"', 'to = "x"\nring = 0')
    text = text.replace('match = "0*"', 'match = ""').replace('lines = ["t", "p"]', 'lines = ["t", "y"]')
    assert errors(text) == [
        "lines.t.channels: must be at least 1, is 0",
        "routes[1].match: must be a pattern of 1 to 64 characters, is ''",
        "routes[2].ring: must be at least 1, is 0",
        "groups.g.lines: names y, and there is no such line",
    ]


def test_a_file_of_wrong_shapes():
    assert errors("site = 1\nlines = 2\nroutes = 3\nservers = { m1 = 4 }") == [
        "site: must be a table, is 1",
        "servers.m1: must be a table, is 4",
        "lines: must be a table of tables [lines.NAME]",
        "routes: must be written as [[routes]]",
    ]
    assert errors("")[:2] == ["site.name: is missing", "site.key: is missing"]


def test_what_is_no_toml_is_one_sentence():
    many_digits, deep = f"a = {'9' * 5000}", f"a = {'[' * 5000}{']' * 5000}"
    for text, said in (("\ufeff" + GOOD, "byte order mark"), (many_digits, "not TOML"), (deep, "not TOML")):
        (sentence,) = errors(text)
        assert sentence.startswith("/etc/site.toml: ") and said in sentence


def test_errors_deep_in_a_table_name_their_place():
    text = GOOD.replace(
        "channels = 3",
        'channels = 3\nto_device.called = [{ match = "0*", strp = 1 }, { match = 7, strip = 99 }, 5]\n'
        'register = { registrar = "sip:x", user = "a b", pasword = { env = "KEY" } }',
    )
    assert errors(text) == [
        "lines.t.register.user: must be 1 to 64 letters, digits or any of + * # _ . ! -, is 'a b'",
        "lines.t.register.password: is missing",
        "lines.t.register.pasword: is not known: did you mean password?",
        "lines.t.to_device.called[1].strp: is not known: did you mean strip?",
        "lines.t.to_device.called[2].match: must be a text in quotes, is 7",
        "lines.t.to_device.called[2].strip: must be at most 64, is 99",
        "lines.t.to_device.called[3]: must be a table, is 5",
    ]


def test_a_place_with_an_error_makes_no_second_one():
    # The agent is written, though wrong: that a line names it is no error.
    assert errors(GOOD.replace("udp:127.0.0.11:5060", "sctp:127.0.0.11:5060")) == [
        "agents.a.sip: must be like udp:192.0.2.1:5060, tcp:, tls:[2001:db8::1]:5061, ws: or wss:, is"
        " 'sctp:127.0.0.11:5060'"
    ]


def test_a_carrier_is_to_be_shown_numbers() -> None:
    account = 'register = { registrar = "sip:127.0.0.21", user = "u", password = { env = "P" } }'
    text = GOOD.replace("channels = 3", f"channels = 3\n{account}", 1)

    def found(more: str = "", phone: str = "") -> list[str]:
        changed = text.replace(account, f"{account}\n{more}", 1).replace(
            'numbers = "1001"', f'numbers = "1001"\n{phone}', 1
        )
        known = {"KEY": "0123456789abcdef", "P": "secret"}
        return [one for one in warnings(parse(changed, Path("/etc/site.toml"), known)) if "carrier" in one]

    [sentence] = found()
    assert sentence.startswith(
        "lines.t: shows its carrier names as callers (p), and most refuse them: give these lines"
    )
    assert not found('from_user = "account"') and not found(phone='caller_number = "+33140506071"')
    assert not found(phone='user = "33140506071"')
    assert not found('to_device.caller = [{ match = "*", prefix = "+33" }]')


def test_an_agent_beside_a_server_would_die_with_it() -> None:
    def of(agent: str, server: str) -> list[str]:
        text = GOOD.replace("127.0.0.11:5060", f"{agent}:5070").replace("127.0.0.1:", f"{server}:")
        site = parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef"})
        return [warning for warning in warnings(site) if warning.startswith("agents.")]

    assert of("192.0.2.1", "192.0.2.1") == [
        "agents.a: runs at 192.0.2.1, as m1 does: when that machine dies while m1 is active, the calls of a are lost;"
        " put them on two machines"
    ]
    assert of("192.0.2.1", "192.0.2.2") == [] == of("127.0.0.1", "127.0.0.1"), "a trial is on one machine"


WSS = 'sip = ["udp:127.0.0.11:5060", "ws:127.0.0.11:5080"]\norigins = "*"'
WEB = '[lines.w]\nkind = "web"\nagent = "a"\n'
PASSWORD = 'password = { env = "KEY" }\n'


@pytest.mark.parametrize(
    ("agent", "line", "found"),
    [
        (WSS, PASSWORD, []),
        (f'{WSS}\ntoken_key = {{ env = "LONG" }}', "", []),
        (f'{WSS}\ntoken_key = {{ env = "LONG" }}', f"{PASSWORD}return_within = 5", []),
        (
            WSS,
            "",
            ['lines.w.password: is missing: say where it is kept, like {env = "ALICE"}, or a token_key for agents.a'],
        ),
        (
            'sip = "udp:127.0.0.11:5060"',
            PASSWORD,
            ["agents.a.sip: has no ws: or wss: listener, and lines.w is for browsers"],
        ),
        (
            WSS,
            f'{PASSWORD}media = "relay"',
            ["lines.w.media: must be direct: what a browser sends is meant for the far end alone"],
        ),
        (WSS, f'{PASSWORD}user = "p"', ["lines.w.user: p is the user of lines.p already"]),
        (WSS, f"{PASSWORD}nat = true", ["lines.w.nat: is only for trunks"]),
        (WSS, f"{PASSWORD}webrtc = true", ["lines.w.webrtc: is only for trunks"]),
        (f'{WSS}\npage = "web"\nwebrtc = {{ stun = "127.0.0.9", sessions = 3 }}', PASSWORD, []),
        (
            f"{WSS}\nwebrtc = {{ sessions = 0 }}",
            PASSWORD,
            ["agents.a.webrtc.sessions: must be at least 1, is 0"],
        ),
    ],
)
def test_lines_of_browsers(agent: str, line: str, found: list[str]) -> None:
    text = GOOD.replace('sip = "udp:127.0.0.11:5060"', agent, 1).replace("[groups.g]", f"{WEB}{line}\n[groups.g]")
    assert errors(text) == found


def test_a_page_is_for_browsers() -> None:
    text = GOOD.replace('sip = "udp:127.0.0.11:5060"', 'sip = "udp:127.0.0.11:5060"\npage = "web"', 1)
    assert errors(text) == ["agents.a.page: is for browsers, and agents.a.sip has no wss: or ws: listener"]


def test_only_a_browser_is_waited_for() -> None:
    text = GOOD.replace('numbers = "1001"', 'numbers = "1001"\nreturn_within = 5', 1)
    assert errors(text) == ["lines.p.return_within: is only for browsers"]


def test_a_key_of_tokens_is_as_long_as_their_hash() -> None:
    text = GOOD.replace('sip = "udp:127.0.0.11:5060"', f'{WSS}\ntoken_key = {{ env = "SHORT" }}', 1)
    site = parse(text, Path("/etc/site.toml"), {"KEY": "0123456789abcdef", "SHORT": "x" * 31})
    assert missing_secrets(site, "a") == ["agents.a.token_key: must have at least 32 bytes, has 31"]
    assert missing_secrets(site, "b") == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('subscriptions = "pass"\nmailbox = "x"\n', "lines.q.mailbox: names x, and there is no such line"),
        (
            'subscriptions = "pass"\nmailbox = "p"\n',
            "lines.q.mailbox: names p, and messages are kept behind a trunk with",
        ),
        (
            'subscriptions = "pass"\nmailbox = "u"\n',
            "lines.q.mailbox: names u, and messages are kept behind a trunk with",
        ),
        ('mailbox = "v"\n', 'lines.q.mailbox: is only for subscriptions = "pass"'),
        ('subscriptions = "pass"\nmailbox = "v"\n', ""),
        ('subscriptions = "pass"\nmailbox = "w"\n', ""),
    ],
)
def test_a_mailbox_is_a_trunk_that_passes_subscriptions(more: str, said: str) -> None:
    keeper = TRUNK.replace("[lines.u]", "[lines.v]").replace(".22", ".23") + 'subscriptions = "pass"\n'
    own = keeper.replace("[lines.v]", "[lines.w]").replace(".23", ".24")
    found = errors(f'{GOOD}{TRUNK}{keeper}agent = "b"\n{own}{PHONE}{more}')
    assert said in "".join(found) if said else found == []


def test_a_trunk_has_no_mailbox() -> None:
    found = errors(f'{GOOD}{TRUNK}agent = "b"\nsubscriptions = "pass"\nmailbox = "t"\n')
    assert "lines.u.mailbox: is only for phones" in found


STIR = (
    ('stir_sign = { key = { env = "KEY" }, url = "https://a.example/b.pem" }', "stir_sign"),
    ('stir_verify = { ca = "/ca.pem" }', "stir_verify"),
)


@pytest.mark.parametrize(("line", "key"), STIR)
def test_callers_are_signed_and_verified_at_trunks_whoever_owns_them(line: str, key: str) -> None:
    assert errors(f'{GOOD}{TRUNK}agent = "b"\n{line}\n') == []
    assert errors(f"{GOOD}{TRUNK}{line}\n") == []
    assert errors(f"{GOOD}{PHONE}{line}\n") == [f"lines.q.{key}: is only for trunks"]


@pytest.mark.parametrize("url", ["http://a.example/b", "https://a.example", "https://a b/c", "x"])
def test_a_certificate_is_on_a_web_server_with_tls(url: str) -> None:
    found = errors(f'{GOOD}{TRUNK}agent = "b"\nstir_sign = {{ key = {{ env = "KEY" }}, url = "{url}" }}\n')
    assert f"lines.u.stir_sign.url: must be like https://example.com/certificate.pem, is '{url}'" in found
