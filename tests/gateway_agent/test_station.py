"""A station's parts that need no library: its call, its files, its tones, the E-model, what a probe says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import wave
from array import array
from collections import deque
from dataclasses import replace
from math import log10, pi, sin
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession

from gateway_agent import e_model
from gateway_agent.station import audio_files, probe, process, telephone, tones
from gateway_agent.station.line_events import (
    Alerted,
    Confirmed,
    Ended,
    Heard,
    LineError,
    MediaAgreed,
    Offered,
    Registered,
    Statistics,
)
from gateway_agent.station.telephone import Do, Source, Telephone
from gateway_agent.station.views import StationStatus, api_of
from heartbeat.console.api_socket import Access, ApiSocket
from heartbeat.console.client import Client
from heartbeat.console.contract import Progress, Refused
from heartbeat.console.metrics import text_of
from heartbeat.console.schema import as_json, of_json
from heartbeat.site.lines import StationSettings
from heartbeat.site.load import parse
from heartbeat.site.values import Api

RATE = 8000


def of(**settings: Any) -> Telephone:
    phone = Telephone("desk", StationSettings(**settings), 0.0)
    assert phone.hears(Registered(200, "OK", 300), 0.0) == []
    return phone


# -- the call --------------------------------------------------------------------------------------------------------


def test_a_call_that_it_makes() -> None:
    phone = of()
    assert phone.dial("6002", 1.0) == [Do.DIAL]
    assert (phone.state, phone.number, phone.since_at) == ("dialing", "6002", 1.0)
    assert phone.hears(MediaAgreed(), 2.0) == []
    assert phone.hears(Alerted(), 2.0) == []
    assert phone.state == "alerting"
    assert phone.hears(Confirmed(), 3.0) == [Do.CONNECT]
    assert phone.hears(MediaAgreed(), 4.0) == [Do.CONNECT]
    assert (phone.state, phone.since_at) == ("talking", 3.0)
    assert phone.hang_up(5.0) == [Do.HANG_UP]
    assert phone.hears(Ended(200, "Normal call clearing"), 6.0) == [Do.LET_GO]
    assert (phone.state, phone.number, phone.last) == ("idle", "", "the call with 6002 has ended")


def test_a_call_that_comes_is_answered_at_once() -> None:
    phone = of()
    assert phone.hears(Offered("6001"), 1.0) == [Do.RING, Do.ANSWER]
    assert phone.hears(Confirmed(), 1.5) == [Do.CONNECT]
    assert phone.hears(Ended(200, ""), 2.0) == [Do.LET_GO]


def test_a_call_that_comes_waits_for_an_order_where_the_line_says_so() -> None:
    phone = of(answer="by-order")
    with pytest.raises(Refused, match="no call rings here"):
        phone.answer(0.0)
    assert phone.hears(Offered("6001"), 1.0) == [Do.RING]
    assert phone.state == "ringing"
    assert phone.answer(2.0) == [Do.ANSWER]
    assert phone.hears(Confirmed(), 3.0) == [Do.CONNECT]


@pytest.mark.parametrize("heard", [[], [Alerted()], [Alerted(), Confirmed()]])
def test_a_call_may_be_hung_up_and_may_end_at_any_time(heard: list[Heard]) -> None:
    for hangs_up in (False, True):
        phone = of()
        phone.dial("6002", 0.0)
        for one in heard:
            phone.hears(one, 0.0)
        if hangs_up:
            assert phone.hang_up(1.0) == [Do.HANG_UP]
            assert phone.hears(Confirmed(), 1.0) == [], "too late"
        assert phone.hears(Ended(487, ""), 2.0) == [Do.LET_GO]
        assert phone.state == "idle"


def test_a_call_that_fails_says_why() -> None:
    phone = of()
    phone.dial("6002", 0.0)
    phone.hears(Ended(486, ""), 1.0)
    assert phone.last == "the call with 6002 came to 486 Busy Here"


def test_orders_that_make_no_sense_are_refused() -> None:
    phone = Telephone("desk", StationSettings(), 0.0)
    with pytest.raises(Refused, match="it has not registered yet"):
        phone.dial("6002", 0.0)
    phone.hears(Registered(403, "Forbidden", 0), 0.0)
    with pytest.raises(Refused, match="its agent said 403 Forbidden"):
        phone.dial("6002", 0.0)
    phone.hears(Registered(200, "OK", 300), 0.0)
    with pytest.raises(Refused, match="has no call"):
        phone.hang_up(0.0)
    phone.dial("6002", 0.0)
    with pytest.raises(Refused, match="one call at a time"):
        phone.dial("6003", 0.0)


def test_what_is_said_once_gives_way_to_what_is_usual() -> None:
    phone = of(play="tone")
    assert phone.play(Source("bursts"), 0.0) == [], "nobody hears it yet"
    phone.dial("6002", 0.0)
    phone.hears(Confirmed(), 1.0)
    assert phone.play(Source("file", "a.wav", once=True), 2.0, 1.5) == [Do.CONNECT]
    assert phone.get_timer() == 3.5
    assert phone.handle_timer(3.4) == []
    assert phone.handle_timer(3.5) == [Do.CONNECT]
    assert phone.source == Source("tone") and phone.get_timer() is None
    assert phone.record("b.wav", 4.0) == [Do.CONNECT]
    phone.hears(Ended(200, ""), 5.0)
    assert phone.recording == ""


def test_every_state_has_a_way_out() -> None:
    states = {state for state, _ in telephone.TABLE} | {following for following, _ in telephone.TABLE.values()}
    for state in states - {telephone.IDLE}:
        assert telephone.TABLE[state, telephone.Event.ENDED] == (telephone.IDLE, Do.LET_GO)


# -- the audio -------------------------------------------------------------------------------------------------------


def tone(seconds: float, hertz: float = tones.TONE_HZ, amplitude: float = 0.5) -> array[int]:
    count = round(seconds * RATE)
    return array("h", (round(32767 * amplitude * sin(2 * pi * hertz * n / RATE)) for n in range(count)))


def silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * round(seconds * RATE)))


def write(path: Path, samples: array[int], rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def test_the_power_of_a_tone_is_that_of_its_frequency_alone() -> None:
    assert tones.power(tone(0.1), RATE) == pytest.approx(0.25, rel=0.02)
    assert tones.power(tone(0.1, 600), RATE) < 0.001
    assert tones.power(silence(0.1), RATE) == 0
    assert tones.power([], RATE) == 0


@pytest.mark.parametrize("delay", [0, 0.04, 0.35, 0.9])
@pytest.mark.parametrize("amplitude", [0.5, 0.02])
def test_the_delay_of_an_echo_is_found(delay: float, amplitude: float) -> None:
    def bursts(loud: float) -> array[int]:
        return (tone(0.2, amplitude=loud) + silence(0.8)) * 5

    sent, heard = bursts(0.5), silence(delay) + bursts(amplitude)
    found = tones.echo_of(tones.onsets(sent, RATE), tones.onsets(heard, RATE), len(sent) * 1000 // RATE)
    assert (found.sent, found.heard) == (5, 5)
    assert found.delay_ms == pytest.approx(delay * 1000, abs=tones.WINDOW_MS)


def test_bursts_that_do_not_come_back_are_missed() -> None:
    sent = (tone(0.2) + silence(0.8)) * 4
    heard = silence(1) + (tone(0.2) + silence(0.8)) * 2 + silence(1)
    assert tones.echo_of(tones.onsets(sent, RATE), tones.onsets(heard, RATE), 4000)[:2] == (4, 2)
    assert tones.onsets(silence(4), RATE) == []
    assert tones.echo_of([0, 1000], [], 2000) == (2, 0, None)


def test_levels_are_in_dbov() -> None:
    assert tones.dbov(0) is None
    levels = [tones.dbov(level) for level in range(1, 50)]
    assert all(one is not None for one in levels) and levels == sorted(levels, key=lambda one: one or 0)
    for level, amplitude in ((49, 32000), (43, 16000), (37, 8000), (19, 1000), (5, 100)):  # as measured
        assert levels[level - 1] == pytest.approx(20 * log10(amplitude / 32768), abs=1.5)


def test_files_that_can_be_played(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.5))
    assert audio_files.length_of(path) == pytest.approx(0.5)
    assert audio_files.read(path).samples == tone(0.5)
    assert audio_files.read(path).length_ms == 500
    assert audio_files.is_complete(path) and not audio_files.is_complete(tmp_path / "no.wav")


def test_files_that_cannot_are_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    for path, why in (
        (tmp_path / "no.wav", "No such file"),
        (tmp_path / "text.wav", "does not start with RIFF"),
        (tmp_path / "empty.wav", "it is cut"),
        (write(tmp_path / "stereo.wav", tone(0.1), channels=2), "one channel, at 8 or 16 kHz"),
        (write(tmp_path / "cd.wav", tone(0.1), rate=44100), "one channel, at 8 or 16 kHz"),
    ):
        with pytest.raises(ValueError, match=why):
            audio_files.length_of(path)


# -- the E-model -----------------------------------------------------------------------------------------------------


def test_default_values_give_the_rating_of_the_recommendation() -> None:
    assert e_model.rating(0, 0) == pytest.approx(93.2, abs=0.05)
    assert e_model.mean_opinion_score(93.2) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("rated", "mos"),
    [(-3, 1), (0, 1), (50, 2.58), (60, 3.1), (70, 3.6), (80, 4.03), (90, 4.34), (100, 4.5), (110, 4.5)],
)
def test_opinions_are_those_of_annex_b(rated: float, mos: float) -> None:
    assert e_model.mean_opinion_score(rated) == pytest.approx(mos, abs=0.007)


def test_delay_and_loss_make_it_worse() -> None:
    by_delay = [e_model.rating(delay, 0) for delay in (20, 50, 100, 150, 200, 300, 400, 600)]
    by_loss = [e_model.rating(20, loss) for loss in (0, 0.001, 0.01, 0.05, 0.2, 1)]
    assert by_delay == sorted(by_delay, reverse=True) and by_loss == sorted(by_loss, reverse=True)
    assert by_delay[3] > 80 > 70 > by_delay[6], "G.114: 150 ms satisfy nearly all, 400 ms do not"
    lossy = e_model.Codec(11, 19)
    assert e_model.rating(0, 0) - e_model.rating(0, 0, lossy) == pytest.approx(11)


# -- the probe -------------------------------------------------------------------------------------------------------

CLEAN = Statistics(500, 0, 500, 0, 1.25, 0.5)


def test_a_good_probe_has_all_figures() -> None:
    found = probe.judged("6002", 0.25, tones.Echo(9, 9, 80.0), CLEAN, 3.5, 7.0)
    assert found.good and found.because == "6002 was heard: 9 of 9 bursts came back"
    assert (found.loss, found.loss_there, found.jitter_ms, found.round_trip_ms) == (0, 0, 1.25, 0.5)
    assert found.mos == pytest.approx(4.4, abs=0.05)


@pytest.mark.parametrize(
    ("echo", "statistics", "why"),
    [
        (tones.Echo(9, 0, None), CLEAN, "nothing came back"),
        (tones.Echo(9, 7, 80.0), CLEAN, "only 7 of 9 bursts came back"),
        (tones.Echo(9, 9, 80.0), CLEAN._replace(lost=100), "the MOS is"),
        (tones.Echo(9, 9, 80.0), CLEAN._replace(lost_there=100), "the MOS is"),
        (tones.Echo(9, 9, 900.0), CLEAN, "the MOS is"),
        (tones.Echo(9, 0, None), None, "nothing came back"),
    ],
)
def test_a_bad_probe_says_why(echo: tones.Echo, statistics: Statistics | None, why: str) -> None:
    found = probe.judged("6002", 0.25, echo, statistics, 3.6, 7.0)
    assert not found.good and why in found.because


def test_the_metrics_of_a_station_are_those_of_its_page() -> None:
    result = probe.judged("6002", 0.25, tones.Echo(9, 9, 80.0), CLEAN, 3.5, 7.0)
    status = StationStatus(
        site="paris",
        agent="gw1",
        station="desk",
        version="1",
        state="talking",
        since_at=0.0,
        registered=True,
        why="",
        number="6002",
        plays="tone",
        records="",
        sent_dbov=-12.0,
        heard_dbov=-13.0,
        last="",
        probe=result,
    )
    assert of_json(StationStatus, as_json(status)) == status
    text = text_of(status, {"site": "paris", "agent": "gw1", "station": "desk"})
    names = set(re.findall(r"^(holdfast_(?:station|probe)_\w+)\{", text, re.M))
    page = (Path(__file__).parents[2] / "docs" / "stations.md").read_text("utf-8")
    assert names == set(re.findall(r"`(holdfast_(?:station|probe)_\w+)`", page))
    assert 'holdfast_probe_good{agent="gw1",site="paris",station="desk"} 1.0' in text


class DeadLine:
    """A telephone that registers, and cannot dial."""

    call = None

    def __init__(self) -> None:
        self.heard: deque[Heard] = deque([Registered(200, "OK", 300)])

    def poll(self) -> None: ...

    def dial(self, number: str) -> None:
        raise LineError("no such network")

    def let_go(self) -> None: ...

    def levels(self) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None: ...


def test_a_probe_that_cannot_dial_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    site = parse(SITE % "127.0.0.11", tmp_path / "site.toml", {"KEY": "x" * 32})
    line = site.lines["desk"]
    client = Client("desk", api_of(site.agents["gw1"], "desk"))

    def probed() -> tuple[StationStatus, Progress]:
        while not client.see(StationStatus, "status")[1].registered:
            pass
        order = client.command("probe", {"number": "6002"})
        while order.state == "running":
            order = client.see(Progress, "progress", id=order.id)[1]
        return client.see(StationStatus, "status")[1], order

    async def work() -> tuple[StationStatus, Progress]:
        station = process.StationProcess(site, line, cast(Any, DeadLine()))
        running = asyncio.create_task(station.run(ApiSocket(client.api, None)))
        try:
            return await asyncio.to_thread(probed)
        finally:
            running.cancel()
            await asyncio.wait([running])

    status, order = asyncio.run(work())
    assert (order.state, order.sentence) == ("failed", "the call with 6002 came to 500 no such network.")
    assert (status.state, status.plays, status.records) == ("idle", "silence", "")
    assert status.probe is not None and not status.probe.good


class UnansweredLine(DeadLine):
    """A telephone whose calls nobody answers."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[str] = []

    def dial(self, number: str) -> None:
        self.dialled.append(number)
        self.heard.append(Ended(480, "nobody is there"))


def test_a_station_probes_by_itself_and_prometheus_sees_what_it_finds(tmp_path: Path) -> None:
    text = (SITE % "127.0.0.11").replace("[lines", 'api_token = { env = "TOKEN" }\n[lines', 1)
    secrets = {"KEY": "x" * 32, "TOKEN": "word"}
    site = parse(text + 'station = { probe = "+331" }\n', tmp_path / "site.toml", secrets)
    settings = replace(site.lines["desk"].station, probe_every=0.05)
    line, phone = replace(site.lines["desk"], station=settings), UnansweredLine()

    async def seen(port: int) -> tuple[int, str, int]:
        async with ClientSession() as session:
            at, known = f"http://127.0.0.1:{port}", {"Authorization": "Bearer word"}
            while len(phone.dialled) < 2:
                await asyncio.sleep(0)
            stranger = (await session.get(f"{at}/metrics")).status
            metrics = await (await session.get(f"{at}/metrics", headers=known)).text()
            order = (await session.post(f"{at}/v1/hangup", json={}, headers=known)).status
            return stranger, metrics, order

    async def work() -> tuple[int, str, int]:
        station = process.StationProcess(site, line, cast(Any, phone))
        watched = ApiSocket(Api(host="127.0.0.1"), Access(b"word"))
        running = asyncio.create_task(station.run(ApiSocket(api_of(site.agents["gw1"], "desk"), None), watched))
        try:
            return await asyncio.wait_for(seen(watched.port), 30)
        finally:
            running.cancel()
            await asyncio.wait([running])

    stranger, metrics, order = asyncio.run(work())
    assert set(phone.dialled) == {"+331"}
    assert (stranger, order) == (401, 404)
    assert 'holdfast_probe_good{agent="gw1",site="paris",station="desk"} 0.0' in metrics


def test_when_a_station_probes_by_itself() -> None:
    schedule = probe.ProbeSchedule(300.0, 100.0)
    looks = [
        # idle, registered, now: begins
        (True, False, 105.0, False),
        (True, False, 110.0, True),  # not registered by then: that is what it finds
        (True, True, 111.0, False),
        (False, True, 410.0, False),  # its own call goes first
        (True, True, 900.0, True),
        (True, True, 901.0, False),  # none is made up for
        (True, True, 1200.0, True),
    ]
    assert [schedule.begins(*look) for *look, _ in looks] == [begins for *_, begins in looks]
    registered = probe.ProbeSchedule(300.0, 100.0)
    assert registered.begins(True, True, 100.5) and not registered.begins(True, True, 399.0)


# -- without the library ---------------------------------------------------------------------------------------------

SITE = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
[agents.gw1]
sip = "udp:%s:5060"
[lines.desk]
kind = "station"
agent = "gw1"
"""


@pytest.mark.parametrize(
    ("listens", "agent", "host"),
    [
        ("127.0.0.11", "127.0.0.11:5060", "127.0.0.11"),
        ("0.0.0.0", "127.0.0.1:5060", "127.0.0.1"),
        ("[::1]", "[::1]:5060", "::1"),
    ],
)
def test_a_station_finds_its_agent_on_this_machine(listens: str, agent: str, host: str) -> None:
    text = SITE % listens
    if listens == "0.0.0.0":
        text = text.replace("[lines.desk]", 'advertise = "192.0.2.1"\n[lines.desk]')
    site = parse(text, Path("site.toml"), {"KEY": "x" * 32})
    account = process.account_of(site, site.lines["desk"])
    assert (account.user, account.realm, account.agent, account.host) == ("desk", "paris", agent, host)
    assert len(account.password) == 32


def test_without_a_sound_device_it_does_not_start_where_it_is_to_have_one(tmp_path: Path) -> None:
    pytest.importorskip("pjsua2", reason="pjsua2 is not here: pip install '.[station]', for Python 3.11 and 3.12")
    text = (SITE % "127.0.0.11").replace('env = "KEY"', 'file = "key"') + "station = { sound = true }\n"
    (tmp_path / "site.toml").write_text(text)
    (tmp_path / "key").write_text("x" * 32)
    words = ["-m", "gateway_agent.cli", "station", "run", "--station", "desk", "--site", str(tmp_path / "site.toml")]
    silent = {**os.environ, "ALSA_CONFIG_PATH": "/dev/null"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=silent)
    assert (done.returncode, done.stderr) == (
        3,
        "The station cannot start: this machine has no sound device, and the line says sound = true.\n",
    )
    assert not list(tmp_path.rglob("*.sock")), "it leaves no socket behind"


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text((SITE % "127.0.0.11").replace('env = "KEY"', 'file = "key"'))
    (tmp_path / "key").write_text("x" * 32)
    hidden = "import sys; sys.modules['pjsua2'] = None; from gateway_agent.cli import main; main()"
    words = ["station", "run", "--station", "desk", "--site", str(tmp_path / "site.toml")]
    done = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, process.NO_LIBRARY + "\n")
