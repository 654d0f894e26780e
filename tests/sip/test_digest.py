"""Digest, both sides, against the examples of the RFCs and against each other."""

from __future__ import annotations

from random import Random

import pytest

from sip.actions import Flow
from sip.digest import Authorization, DigestClient, DigestServer, Refusal, Verdict, _digest, _secret_hash
from sip.wire.message import Request, Response

URI = "sip:registrar.example.com"


def server(**changes: object) -> DigestServer:
    users = {"alice": "wonderland", "jürgen": "straße"}
    fields: dict[str, object] = {"realm": "ours", "secret": b"k" * 32, "password_of": users.get}
    return DigestServer(**(fields | changes))  # type: ignore[arg-type]


def register(*lines: str, method: str = "REGISTER", uri: str = URI) -> Request:
    names = [line.partition(":")[0].lower() for line in lines]
    return Request(method, uri, names, list(lines))


def challenged(lines: list[str], status: int = 401) -> Response:
    return Response(status, "", [line.partition(":")[0].lower() for line in lines], list(lines))


def answered(client: DigestClient, response: Response, sent: list[Authorization] | None = None) -> Authorization:
    found = client.answer(response, "REGISTER", URI, sent or [])
    assert not isinstance(found, Refusal)
    [one] = found
    return one


def test_the_examples_of_rfc_7616() -> None:
    realm, nonce = "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    counted = "00000001:f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    for algorithm, expected in (
        ("md5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("sha-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        secret = _secret_hash(algorithm, "Mufasa", realm, "Circle of Life")
        assert _digest(algorithm, secret, nonce, counted, "GET", "/dir/index.html") == expected


def test_a_client_without_qop_as_in_rfc_2069() -> None:
    secret = _secret_hash("md5", "Mufasa", "testrealm@host.com", "CircleOfLife")
    found = _digest("md5", secret, "dcd98b7102dd2f0e8b11d0f600bfb0c093", "", "GET", "/dir/index.html")
    assert found == "1949323746fe6a43ef61f9606e7febea"


def test_the_server_offers_md5_first_and_the_client_takes_the_stronger() -> None:
    ours = server()
    lines = ours.challenge(10.0)
    assert [line.partition("algorithm=")[2].partition(",")[0] for line in lines] == ["MD5", "SHA-256"]
    auth = answered(DigestClient("alice", "wonderland", Random(1)), challenged(lines))
    assert "algorithm=SHA-256" in auth.line
    verdict = ours.check(register(auth.line), 10.5)
    assert verdict.accepted and verdict.username == "alice"


@pytest.mark.parametrize("algorithm", ["SHA-512-256", "SHA-256", "MD5"])
def test_each_algorithm(algorithm: str) -> None:
    ours = server(algorithms_of=lambda _: (algorithm,))
    auth = answered(DigestClient("jürgen", "straße", Random(1)), challenged(ours.challenge(0.0)))
    assert f"algorithm={algorithm}," in auth.line
    line = auth.line
    assert ours.check(register(line), 0.0).accepted


def test_the_strongest_challenge_is_answered_whatever_its_place() -> None:
    lines = server(algorithms_of=lambda _: ("MD5", "SHA-256", "SHA-512-256")).challenge(0.0)
    lines.insert(0, 'WWW-Authenticate: Digest realm="ours", nonce="x", algorithm=QUANTUM')
    lines.insert(0, 'WWW-Authenticate: Bearer authz_server="https://a.example"')
    assert "SHA-512-256" in answered(DigestClient("alice", "wonderland", Random(1)), challenged(lines)).line


def test_a_proxy_challenge_is_answered_in_its_own_header() -> None:
    ours = server()
    client = DigestClient("alice", "wonderland", Random(1))
    auth = answered(client, challenged(ours.challenge(0.0, proxy=True), 407))
    assert auth.name == "proxy-authorization" and auth.line.startswith("Proxy-Authorization: Digest ")
    assert ours.check(register(auth.line), 0.0, proxy=True).accepted
    assert not ours.check(register(auth.line), 0.0).accepted


def test_sess_algorithms_and_opaque_of_others_are_answered() -> None:
    lines = ['WWW-Authenticate: Digest realm="r", nonce="n", algorithm=SHA-256-sess, qop="auth,auth-int", opaque="o"']
    line = answered(DigestClient("alice", "x", Random(1)), challenged(lines)).line
    assert "algorithm=SHA-256-sess" in line and 'opaque="o"' in line and "qop=auth," in line


def test_a_challenge_without_qop_or_algorithm() -> None:
    client = DigestClient("alice", "wonderland", Random(1))
    auth = answered(client, challenged(['WWW-Authenticate: Digest realm="ours", nonce="n"']))
    assert "qop" not in auth.line and "nc=" not in auth.line and "algorithm=MD5" in auth.line
    assert client.authorize("REGISTER", URI) == []


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="ours",nonce="n",qop=""',
        'Digest realm="ours", nonce="n", qop',
        'Digest\trealm="ours",nonce="n"',
        'digest  realm="ours" , nonce="n", algorithm="", qop="", stale=FALSE,',
    ],
)
def test_a_challenge_that_is_oddly_written_is_answered_without_qop(challenge: str) -> None:
    client = DigestClient("alice", "wonderland", Random(1))
    line = answered(client, challenged([f"WWW-Authenticate: {challenge}"])).line
    plain = answered(client, challenged(['WWW-Authenticate: Digest realm="ours", nonce="n"'])).line
    assert line == plain and "qop" not in line


def test_a_nonce_that_is_given_again_is_counted_on() -> None:
    client = DigestClient("alice", "wonderland", Random(1))
    again = challenged(['WWW-Authenticate: Digest realm="ours", nonce="n", qop="auth"'])
    lines = [answered(client, again).line, client.authorize("REGISTER", URI)[0].line, answered(client, again).line]
    assert [line.partition("nc=")[2][:8] for line in lines] == ["00000001", "00000002", "00000003"]
    third = answered(client, again)
    assert third.first and isinstance(client.answer(again, "REGISTER", URI, [third]), Refusal)


def test_only_auth_int_cannot_be_answered() -> None:
    lines = ['WWW-Authenticate: Digest realm="r", nonce="n", qop="auth-int"', "WWW-Authenticate: ,,,"]
    found = DigestClient("alice", "x", Random(1)).answer(challenged(lines), "REGISTER", URI)
    assert found == Refusal("the 401 has no challenge that can be answered")


def test_later_requests_count_up_and_are_accepted_at_once() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    first = answered(client, challenged(ours.challenge(0.0)))
    second = client.authorize("REGISTER", URI)[0]
    assert "nc=00000001" in first.line and "nc=00000002" in second.line and not second.first
    assert ours.check(register(first.line), 0.0).accepted
    assert ours.check(register(second.line), 1.0).accepted


def test_a_replay_is_stale() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    line = answered(client, challenged(ours.challenge(0.0))).line
    assert ours.check(register(line), 0.0).accepted
    again = ours.check(register(line), 0.1)
    assert not again.accepted and again.stale


def test_a_client_without_qop_uses_a_nonce_once() -> None:
    ours = server()
    nonce = ours.challenge(0.0)[1].partition('nonce="')[2].partition('"')[0]
    secret = _secret_hash("md5", "alice", "ours", "wonderland")
    response = _digest("md5", secret, nonce, "", "REGISTER", URI)
    line = f'Authorization: Digest username="alice",realm="ours",nonce="{nonce}",uri="{URI}",response="{response}"'
    assert ours.check(register(line), 0.0).accepted
    assert ours.check(register(line), 0.0).stale


def test_a_wrong_password_is_refused_and_not_tried_twice() -> None:
    ours, client = server(), DigestClient("alice", "looking-glass", Random(1))
    auth = answered(client, challenged(ours.challenge(0.0)))
    verdict = ours.check(register(auth.line), 0.0)
    assert not verdict.accepted and not verdict.stale and verdict.because == "no user 'alice' with that password"
    again = client.answer(challenged(ours.challenge(0.1)), "REGISTER", URI, [auth])
    assert again == Refusal("user alice or its password is refused in the realm 'ours'")


def test_an_old_nonce_gets_stale_and_the_client_tries_again() -> None:
    ours, client = server(nonce_life=60.0), DigestClient("alice", "wonderland", Random(1))
    answered(client, challenged(ours.challenge(0.0)))
    late = client.authorize("REGISTER", URI)
    verdict = ours.check(register(late[0].line), 61.0)
    assert not verdict.accepted and verdict.stale
    auth = answered(client, challenged(ours.challenge(61.0, stale=True)), late)
    assert ours.check(register(auth.line), 61.0).accepted


def test_a_nonce_of_another_secret_is_stale_and_one_of_the_future_is_not_taken() -> None:
    client = DigestClient("alice", "wonderland", Random(1))
    line = answered(client, challenged(server(secret=b"other" * 4).challenge(0.0))).line
    verdict = server().check(register(line), 0.0)
    assert (verdict.accepted, verdict.stale, verdict.because) == (False, True, "a nonce that is not ours")
    line = answered(client, challenged(server().challenge(100.0))).line
    assert server().check(register(line), 50.0).stale


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('uri="sip:registrar.example.com"', 'uri="sip:other.example.com"'),
        ('uri="sip:registrar.example.com"', 'uri="nonsense"'),
        ("algorithm=SHA-256", "algorithm=SHA-512-256"),
        ("qop=auth", "qop=auth-int"),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=0000000z"),
        ("nc=00000001", "nc=00000002"),
        ('username="alice"', 'username="nobody"'),
        ('realm="ours"', 'realm="theirs"'),
        ("Digest ", "Basic "),
        ("Digest ", "=;,"),
        ('nonce="', 'nonce="zz'),
        ("response=", "answer="),
    ],
)
def test_credentials_that_were_changed_are_refused(old: str, new: str) -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    line = answered(client, challenged(ours.challenge(0.0))).line
    assert old in line
    assert not ours.check(register(line.replace(old, new)), 0.0).accepted


def test_another_method_is_refused_and_an_equivalent_uri_is_not() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    line = answered(client, challenged(ours.challenge(0.0))).line
    assert not ours.check(register(line, method="INVITE"), 0.0).accepted
    assert ours.check(register(line, uri="sip:REGISTRAR.example.com"), 0.0).accepted


def test_what_is_remembered_has_a_limit_and_nothing_forgotten_can_be_replayed() -> None:
    ours, client = server(memory=10), DigestClient("alice", "wonderland", Random(1))
    lines = [answered(client, challenged(ours.challenge(at / 10))).line for at in range(30)]
    assert all(ours.check(register(line), 3.0).accepted for line in lines)
    assert len(ours._counts) == 10
    assert all(ours.check(register(line), 3.0).stale for line in lines)


def test_many_realms_are_forgotten() -> None:
    client = DigestClient("alice", "x", Random(1))
    for n in range(20):
        answered(client, challenged([f'WWW-Authenticate: Digest realm="r{n}", nonce="n", qop="auth"']))
    assert len(client.authorize("INVITE", URI)) == 8
    client.reset()
    assert client.authorize("INVITE", URI) == []


def test_no_secret_shows() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    auth = answered(client, challenged(ours.challenge(0.0)))
    shown = repr(ours) + repr(client) + str(ours.check(register(auth.line), 0.0))
    assert "wonderland" not in shown and "kkkk" not in shown


def test_no_credentials() -> None:
    assert server().check(register("To: <sip:a@b>"), 0.0).because == "no credentials for the realm ours"


HERE = Flow("udp", "127.0.0.1:5060", ("192.0.2.1", 40001))
THERE = Flow("udp", "127.0.0.1:5060", ("192.0.2.2", 40001))


def test_a_nonce_is_good_for_the_host_that_it_went_to() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    auth = answered(client, challenged(ours.challenge(0.0, flow=HERE)))
    verdict = ours.check(register(auth.line), 0.0, flow=THERE)
    assert not verdict.accepted and verdict.stale
    assert ours.check(register(auth.line), 0.0, flow=HERE._replace(remote=("192.0.2.1", 50001))).accepted


def test_what_is_forged_in_the_name_of_another_host_is_no_guess_of_that_host() -> None:
    ours = server()
    for number in range(100):
        nonce = challenged(ours.challenge(0.0, flow=THERE))
        line = answered(DigestClient("alice", "wrong", Random(number)), nonce).line
        assert ours.check(register(line), 0.0, flow=HERE).stale
    assert ours.throttle.wrong == 0
    line = answered(DigestClient("alice", "wonderland", Random(1)), challenged(ours.challenge(0.0, flow=HERE))).line
    assert ours.check(register(line), 0.0, flow=HERE).accepted


def test_the_right_password_is_not_looked_at_either_while_one_is_held_back() -> None:
    ours = server()

    def tried(password: str, now: float) -> Verdict:
        client = DigestClient("alice", password, Random(1))
        return ours.check(register(answered(client, challenged(ours.challenge(now, flow=HERE))).line), now, flow=HERE)

    for number in range(5):
        assert not tried(f"wrong{number}", 0.0).wait
    verdict = tried("wonderland", 0.0)
    assert not verdict.accepted and verdict.wait == 10.0
    reply = ours.refusal(verdict, HERE, "alice", 0.0)
    assert reply is not None and (reply.status, reply.lines) == (503, ("Retry-After: 10",))
    assert [ours.refusal(verdict, HERE, "alice", 0.0) is None for _ in range(6)] == [False] * 4 + [True] * 2
    assert tried("wonderland", 10.0).accepted


def test_each_user_is_offered_what_is_his() -> None:
    ours = server(algorithms_of=lambda user: ("MD5",) if user == "alice" else ("SHA-256", "MD5"))
    assert [line.count("MD5") for line in ours.challenge(0.0, user="alice")] == [1]
    assert [line.count("MD5") for line in ours.challenge(0.0, user="bob")] == [0, 1]
    line = answered(DigestClient("alice", "wonderland", Random(1)), challenged(ours.challenge(0.0, user="bob"))).line
    assert "SHA-256" in line and ours.check(register(line), 0.0).because == "an algorithm that was not offered"


def test_counts_only_grow_for_each_client_of_a_nonce() -> None:
    """RFC 7616 section 3.4: nc counts the requests with a nonce; phones challenged in one instant share theirs."""
    ours = server()
    one, two = DigestClient("alice", "wonderland", Random(1)), DigestClient("jürgen", "straße", Random(2))
    challenge = challenged(ours.challenge(0.0))
    lines = [answered(one, challenge).line, answered(two, challenge).line]
    assert all(ours.check(register(line), 0.0).accepted for line in lines)
    later = [one.authorize("REGISTER", URI)[0].line for _ in range(3)]
    assert ours.check(register(later[2]), 0.0).accepted
    zero = later[2].replace("nc=00000004", "nc=00000000")
    assert not ours.check(register(zero), 0.0).accepted


def algorithms(lines: list[str]) -> list[str]:
    return [line.partition("algorithm=")[2].partition(",")[0] for line in lines]


def test_a_device_that_used_the_stronger_algorithm_is_offered_it_first_from_then_on() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    here, there = Flow("udp", "l", ("127.0.0.7", 5060)), Flow("udp", "l", ("127.0.0.7", 5062))
    auth = answered(client, challenged(ours.challenge(0.0, flow=here, user="alice")))
    assert ours.check(register(auth.line), 0.0, flow=here).accepted
    assert algorithms(ours.challenge(1.0, flow=here, user="alice")) == ["SHA-256", "MD5"]
    assert algorithms(ours.challenge(1.0, flow=there, user="alice")) == ["MD5", "SHA-256"]
    assert algorithms(ours.challenge(1.0, flow=here, user="bob")) == ["MD5", "SHA-256"]
    old = answered(client, challenged(ours.challenge(1.0, flow=here, user="alice")[1:]))
    assert ours.check(register(old.line), 1.0, flow=here).accepted
    assert algorithms(ours.challenge(2.0, flow=here, user="alice")) == ["MD5", "SHA-256"]


@pytest.mark.parametrize(
    "asked, written, same",
    [
        ("sip:paris", "sip:paris", True),
        ("sip:paris;transport=UDP", "sip:paris", True),
        ("sip:paris:5060", "sip:paris", True),
        ("sip:paris", "sip:paris:5062;transport=tcp", True),
        ("sip:PARIS.", "sip:paris", True),
        ("sip:200@paris;user=phone", "sip:%3200@Paris", True),
        ("sip:paris", "sip:192.0.2.1", True),
        ("sip:200@192.0.2.1:5070", "sip:200@paris", True),
        ("sip:[2001:DB8::0:1]", "sip:[2001:db8::1]:5060", True),
        ("sip:200@paris", "sip:201@paris", False),
        ("sip:paris", "sip:rome", False),
        ("sip:192.0.2.9", "sip:paris", False),
        ("sip:paris", "", False),
        ("tel:+33", "sip:+33@paris", False),
        ("tel:+33-1", "tel:+331", True),
    ],
)
def test_the_uri_names_the_same_resource_in_whatever_words(asked: str, written: str, same: bool) -> None:
    ours, client = server(hosts=frozenset({"paris", "192.0.2.1"})), DigestClient("alice", "wonderland", Random(1))
    found = client.answer(challenged(ours.challenge(0.0)), "REGISTER", written)
    assert not isinstance(found, Refusal)
    assert ours.check(register(found[0].line, uri=asked), 0.0).accepted == same


def test_several_realms_in_one_line_or_several_are_all_answered() -> None:
    client = DigestClient("alice", "x", Random(1))
    line = (
        'Proxy-Authenticate: NTLM, Digest realm="a, b", nonce="1", qop="auth", Digest realm="a, b",nonce="2",'
        'algorithm=SHA-256 , qop="auth,auth-int", Basic realm="c"'
    )
    other = 'Proxy-Authenticate: Digest nonce="3", realm="d"'
    found = client.answer(challenged([line, other], 407), "INVITE", URI)
    assert not isinstance(found, Refusal)
    assert [(one.realm, "SHA-256" in one.line, one.first) for one in found] == [
        ("a, b", True, True),
        ("d", False, True),
    ]
    # the first is content now, the second wants a new nonce: both go along, the first with its next count
    once_more = challenged(['Proxy-Authenticate: Digest realm="d", nonce="4", stale=true'], 407)
    again = client.answer(once_more, "INVITE", URI, found)
    assert not isinstance(again, Refusal)
    assert [one.realm for one in again] == ["d", "a, b"] and '"4"' in again[0].line and "nc=00000002" in again[1].line
    assert isinstance(client.answer(once_more, "INVITE", URI, again), Refusal)


def test_of_two_proxies_the_second_one_asks_after_the_first() -> None:
    client, sent = DigestClient("alice", "x", Random(1)), []
    for realms, status in ((["a"], 407), (["a", "b"], 407), (["a", "b", "c"], 401)):
        header = "Proxy-Authenticate" if status == 407 else "WWW-Authenticate"
        found = client.answer(
            challenged([f'{header}: Digest realm="{realms[-1]}", nonce="n"'], status), "BYE", URI, sent
        )
        assert not isinstance(found, Refusal)
        sent = list(found)
        assert sorted(one.realm for one in sent) == realms
    assert [one.name for one in sent] == ["authorization", "proxy-authorization", "proxy-authorization"]


def test_nonces_that_are_stale_for_ever_come_to_an_end() -> None:
    client, sent, tries = DigestClient("alice", "x", Random(1)), (), 0
    while tries < 10:
        found = client.answer(
            challenged([f'WWW-Authenticate: Digest realm="a", nonce="{tries}", qop="auth", stale=true']),
            "BYE",
            URI,
            sent,
        )
        if isinstance(found, Refusal):
            break
        sent, tries = found, tries + 1
    assert tries == 2


def test_credentials_in_one_line_with_those_for_others() -> None:
    ours, client = server(), DigestClient("alice", "wonderland", Random(1))
    mine = answered(client, challenged(ours.challenge(0.0))).line.partition(": ")[2]
    assert ours.check(register(f'Authorization: Digest realm="other", nonce="1", {mine}'), 0.0).accepted


@pytest.mark.parametrize(
    ("written", "user"), [("alice@OURS", "alice"), ("alice@192.0.2.1", "alice"), ("alice@rome", ""), ("@ours", "")]
)
def test_a_user_name_may_name_the_realm(written: str, user: str) -> None:
    ours = server(hosts=frozenset({"192.0.2.1"}))
    line = answered(DigestClient(written, "wonderland", Random(1)), challenged(ours.challenge(0.0))).line
    verdict = ours.check(register(line), 0.0)
    assert (verdict.accepted, verdict.username) == (bool(user), user or verdict.username)


def test_no_two_nonces_are_alike() -> None:
    ours = server()
    nonces = {ours.challenge(5.0)[0].partition('nonce="')[2].partition('"')[0] for _ in range(1000)}
    assert len(nonces) == 1000
    for nonce in nonces:
        line = _line(nonce)
        assert ours.check(register(line), 5.0).accepted
        assert ours.check(register(line), 5.0).stale


def _line(nonce: str) -> str:
    response = _digest(
        "md5", _secret_hash("md5", "alice", "ours", "wonderland"), nonce, "00000001:abc", "REGISTER", URI
    )
    return (
        f'Authorization: Digest username="alice", realm="ours", nonce="{nonce}", uri="{URI}", response="{response}", '
        'qop=auth, nc=00000001, cnonce="abc"'
    )
