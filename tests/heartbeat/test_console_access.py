"""Who is let in at an API, as operator or to look, and what a browser may not do."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from heartbeat.console.access import COOKIE, CSRF, MOST_SESSIONS, SESSION_S, AccessControl
from heartbeat.console.api_socket import (
    MOST_WRONG_TOKENS,
    OPERATOR,
    PROVISIONER,
    TOKEN_BAN_S,
    VIEWER,
    Access,
    token_bans,
)
from heartbeat.console.contract import Refused

ACCESS = Access(b"secret", b"look", b"provision", "X-Remote-User", frozenset({"olga"}))
BROWSER = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "Host": "sbc.example"}


class ControlListener:
    def __init__(self, by_socket: bool, access: Access = ACCESS) -> None:
        self.access, self.now = access, 0.0
        self.audited: list[tuple[Any, ...]] = []
        self.token_bans = token_bans()
        audit = lambda *done: self.audited.append(done)  # noqa: E731
        self.gate = AccessControl(lambda: self.access, by_socket, self.token_bans, audit, lambda: self.now)
        self.remote = "192.0.2.1"

    def asks(self, method: str = "GET", path: str = "/v1/status", **headers: str) -> Any:
        try:
            return self.gate.admit(self._request(method, path, headers))
        except Refused as refusal:
            return refusal.status

    def login(self, token: str, **headers: str) -> Any:
        return self.gate.login(self._request("POST", "/page/login", headers), token)

    def _request(self, method: str, path: str, headers: dict[str, str]) -> Any:
        named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        return make_mocked_request(method, path, headers=named).clone(remote=self.remote)

    def fails(self, token: str, **headers: str) -> int:
        with pytest.raises(Refused) as refusal:
            self.login(token, **headers)
        return refusal.value.status


def test_the_owner_of_the_socket_is_the_operator_and_a_browser_there_is_nobody() -> None:
    door = ControlListener(by_socket=True)
    assert door.asks().role == door.asks("POST", "/v1/pause").role == OPERATOR
    for header in ("Sec-Fetch-Mode", "Origin", "Cookie", "X-Forwarded-For", "Forwarded"):
        assert door.asks(**{header: "x"}) == door.asks("POST", **{header: "x"}) == 401
    assert door.asks(Authorization="Bearer wrong") == 401


@pytest.mark.parametrize(
    ("authorization", "role"),
    [("Bearer secret", OPERATOR), ("bearer look", VIEWER), ("Bearer ", 401), ("Basic secret", 401), ("", 401)],
)
def test_by_tcp_the_token_says_the_role(authorization: str, role: object) -> None:
    who = ControlListener(by_socket=False).asks(Authorization=authorization)
    assert (who if isinstance(who, int) else who.role) == role


def test_without_tokens_nobody_comes_in_by_tcp() -> None:
    door = ControlListener(by_socket=False, access=Access())
    assert door.asks() == door.asks(Authorization="Bearer ") == door.asks(Authorization="Bearer None") == 401
    assert door.fails("") == 403


def test_a_viewer_changes_nothing() -> None:
    door = ControlListener(by_socket=False)
    assert door.asks("POST", "/v1/pause", Authorization="Bearer look") == 403
    assert door.asks("POST", "/v1/pause", Authorization="Bearer secret").role == OPERATOR


def test_who_provisions_changes_nothing_else() -> None:
    door = ControlListener(by_socket=False)
    token = "Bearer provision"
    assert door.asks(Authorization=token).role == PROVISIONER
    for method, path in (("POST", ""), ("PUT", "/lines/x"), ("DELETE", "/routes/y")):
        assert door.asks(method, f"/v1/provisioned{path}", Authorization=token).role == PROVISIONER
        assert door.asks(method, f"/v1/provisioned{path}", Authorization="Bearer look") == 403
        assert door.asks(method, f"/v1/provisioned{path}", Authorization="Bearer secret").role == OPERATOR
    assert door.audited.pop()[:4] == ("viewer by token", "192.0.2.1", "provisioned/routes/y", {})
    assert door.asks("POST", "/v1/hangup", Authorization=token) == 403
    assert door.audited.pop()[0::2] == ("provisioner by token", "hangup", "refused")


def test_logins_are_audited_and_their_tokens_are_not() -> None:
    door = ControlListener(by_socket=False)
    door.fails("guess")
    name, _ = door.login("secret")
    door.gate.logout(make_mocked_request("POST", "/page/logout", headers=CIMultiDict({"Cookie": f"{COOKIE}={name}"})))
    assert [(user, what, result) for user, _, what, _, result, _ in door.audited] == [
        ("somebody", "login", "refused"),
        ("operator by token", "login", "done"),
        ("operator by token", "logout", "done"),
    ]
    assert "guess" not in repr(door.audited) and "secret" not in repr(door.audited)


def test_a_session_needs_the_pages_own_token_and_origin_to_change_something() -> None:
    door = ControlListener(by_socket=True)
    name, who = door.login("secret")
    cookie = {**BROWSER, "Cookie": f"{COOKIE}={name}"}
    assert door.asks(**cookie) == who and who.role == OPERATOR and who.csrf
    assert door.asks("POST", **cookie) == door.asks("POST", **cookie, **{CSRF: "guess"}) == 403
    good = {**cookie, CSRF: who.csrf}
    assert door.asks("POST", **good) == who
    assert door.asks("POST", **{**good, "Sec-Fetch-Site": "cross-site"}) == 403
    assert door.asks("POST", **good, Origin="https://evil.example") == 403
    assert door.asks("POST", **good, Origin="https://sbc.example") == who
    assert door.asks("POST", **good, Origin="https://noc.example", X_Forwarded_Host="noc.example") == who


def test_a_session_ends_by_time_by_logout_and_when_its_token_is_changed() -> None:
    door = ControlListener(by_socket=False)
    cookies = [{"Cookie": f"{COOKIE}={door.login('look')[0]}"} for _ in range(3)]
    door.gate.logout(make_mocked_request("POST", "/page/logout", headers=CIMultiDict(cookies[0])))
    assert door.asks(**cookies[0]) == 401 and door.asks(**cookies[1]).role == VIEWER
    door.access = ACCESS._replace(view_token=b"another")
    assert door.asks(**cookies[1]) == 401
    door.access = ACCESS
    assert door.asks(**cookies[1]) == 401, "for good"
    door.now = SESSION_S + 1.0
    assert door.asks(**cookies[2]) == 401


def test_the_user_of_a_proxy_has_the_role_that_the_file_says_and_no_more_than_the_proxy() -> None:
    by_socket, by_tcp = ControlListener(by_socket=True), ControlListener(by_socket=False)
    olga, victor = by_socket.asks(X_Remote_User="olga", **BROWSER), by_socket.asks(X_Remote_User="victor", **BROWSER)
    assert (olga.user, olga.role, victor.role) == ("olga", OPERATOR, VIEWER)
    assert by_socket.asks("POST", X_Remote_User="olga", **BROWSER) == 403
    assert by_socket.asks("POST", X_Remote_User="olga", **BROWSER, **{CSRF: olga.csrf}) == olga
    assert by_socket.asks("POST", X_Remote_User="victor", **BROWSER, **{CSRF: victor.csrf}) == 403
    assert by_tcp.asks(X_Remote_User="olga") == 401, "who is not the proxy says nothing"
    assert by_tcp.asks(X_Remote_User="olga", Authorization="Bearer look").role == VIEWER
    unnamed = ControlListener(by_socket=True, access=ACCESS._replace(user_header=""))
    assert unnamed.asks(X_Remote_User="olga", **BROWSER) == 401


def test_another_page_cannot_log_somebody_in() -> None:
    door = ControlListener(by_socket=True)
    assert door.fails("secret", Sec_Fetch_Site="cross-site") == 403
    assert door.fails("secret", Host="sbc.example", Origin="https://evil.example") == 403
    assert door.login("secret", Host="sbc.example", Origin="https://sbc.example")[1].role == OPERATOR


def test_sessions_are_bounded() -> None:
    door = ControlListener(by_socket=False)
    names = [door.login("secret")[0] for _ in range(MOST_SESSIONS + 1)]
    assert door.asks(Cookie=f"{COOKIE}={names[0]}") == 401
    assert door.asks(Cookie=f"{COOKIE}={names[1]}").role == OPERATOR


@pytest.mark.parametrize("by", ["login", "bearer", "both"])
def test_who_guesses_tokens_is_banned_for_a_while_and_nobody_else_is(
    by: str, caplog: pytest.LogCaptureFixture
) -> None:
    door = ControlListener(by_socket=False)

    def guess(number: int, token: str = "guess") -> Any:
        if by == "login" or (by == "both" and number % 2):
            return door.fails(token)
        return door.asks(Authorization=f"Bearer {token}")

    session = {"Cookie": f"{COOKIE}={door.login('secret')[0]}"}
    assert [guess(number) for number in range(MOST_WRONG_TOKENS + 1)] == [401] * (MOST_WRONG_TOKENS + 1)
    assert door.fails("secret") == door.asks(Authorization="Bearer secret") == 429, "it is not looked at"
    assert door.asks(**session).role == OPERATOR, "an operator behind the same NAT works on"
    assert f"banned 192.0.2.1 for {TOKEN_BAN_S:.0f} s: 11 wrong token" in caplog.text
    assert ("somebody", "192.0.2.1", "token", {}, "refused", "banned for 11 wrong token") in door.audited
    door.remote = "192.0.2.2"
    assert door.login("secret")[1].role == door.asks(Authorization="Bearer secret").role == OPERATOR
    door.remote, door.now = "192.0.2.1", TOKEN_BAN_S + 1.0
    assert door.login("secret")[1].role == door.asks(Authorization="Bearer secret").role == OPERATOR


def test_a_program_that_asks_without_a_token_or_seldom_with_a_wrong_one_is_not_banned() -> None:
    door = ControlListener(by_socket=False)
    assert {door.asks() for _ in range(100)} == {401} and {door.asks(Authorization="Bearer ") for _ in range(9)} == {
        401
    }
    for _ in range(100):
        door.now += 15.0
        assert door.asks(Authorization="Bearer old") == 401
    assert door.asks(Authorization="Bearer secret").role == OPERATOR


def test_guesses_count_by_the_word_of_a_proxy_at_the_socket_and_of_nobody_else() -> None:
    by_socket, by_tcp = ControlListener(by_socket=True), ControlListener(by_socket=False)
    for number in range(MOST_WRONG_TOKENS + 2):
        forged = f"198.51.100.{number}"
        by_socket.asks(Authorization="Bearer guess", X_Forwarded_For=f"{forged}, 203.0.113.7")
        by_tcp.asks(Authorization="Bearer guess", X_Forwarded_For=forged)
    assert by_socket.fails("secret", X_Forwarded_For="203.0.113.7") == by_tcp.fails("secret") == 429
    assert by_socket.login("secret", X_Forwarded_For="203.0.113.8")[1].role == OPERATOR
    assert by_socket.asks().role == OPERATOR, "the owner of the socket needs no token"
    assert [one.host for one in by_socket.token_bans.banned.values()] == ["203.0.113.7"]


def test_a_network_of_ipv6_is_one_who_guesses() -> None:
    door = ControlListener(by_socket=False)
    for number in range(MOST_WRONG_TOKENS + 1):
        door.remote = f"2001:db8::{number:x}"
        assert door.asks(Authorization="Bearer guess") == 401
    assert door.asks(Authorization="Bearer secret") == 429
    door.remote = "2001:db8:0:1::1"
    assert door.asks(Authorization="Bearer secret").role == OPERATOR
