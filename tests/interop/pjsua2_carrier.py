"""python -m tests.interop.pjsua2_carrier HOST:PORT AGENT

A carrier on pjsua2, in a process of its own since the library is there once in each: every provisional response is to
be reliable, every session has a timer of 90 s. It plays back what it hears; a call has early media until it is told
``answer``.
It is told lines, ``VERB NUMBER``, and tells one of JSON for all that happens. ``pickup NUMBER REPLACES`` calls that
number in place of a dialog; ``sleep SECONDS`` hears and says nothing for so long.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

import pjsua2 as pj

EXPIRES = 90


class Call(pj.Call):
    """One; it is named by the number that was called."""

    def __init__(self, account: Account, number: str, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self.account = account
        self.number = number

    def onCallState(self, told: Any) -> None:
        info = self.getInfo()
        tell(self.number, info.stateText.lower(), info.lastStatusCode)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.account.over.append(self)

    def onCallMediaState(self, told: Any) -> None:
        info = self.getInfo()  # what is in it lives as long as it does
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                audio = self.getAudioMedia(media.index)
                audio.startTransmit(audio)

    def onCallTsxState(self, told: Any) -> None:
        transaction = told.e.body.tsxState.tsx
        if transaction.state == pj.PJSIP_TSX_STATE_COMPLETED:
            by = "by it" if transaction.role == pj.PJSIP_ROLE_UAC else "by us"
            tell(self.number, f"{transaction.method} {by}", transaction.statusCode)


class Account(pj.Account):
    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Call] = {}
        self.over: list[Call] = []
        """To be let go at once: the end of such an object hangs up whatever call has its place by then."""

    def onIncomingCall(self, told: Any) -> None:
        call = Call(self, "", told.callId)
        call.number = call.getInfo().localUri.partition(":")[2].partition("@")[0]
        self.calls[call.number] = call
        call.answer(param(183))


def param(status: int = 0) -> Any:
    found = pj.CallOpParam(True)
    found.statusCode = status
    found.opt.audioCount, found.opt.videoCount, found.opt.textCount = 1, 0, 0
    return found


def tell(number: str, what: str, status: int = 0) -> None:
    print(json.dumps([number, what, status]), flush=True)


def obey(account: Account, agent: str, line: str) -> None:
    verb, _, number = line.partition(" ")
    if verb in ("call", "pickup"):
        number, _, replaces = number.partition(" ")
        call, how = Call(account, number), param()
        account.calls[number] = call
        if replaces:
            header = pj.SipHeader()
            header.hName, header.hValue = "Replaces", replaces
            how.txOption.headers.append(header)
        call.makeCall(f"sip:{number}@{agent}", how)
        return
    if verb == "sleep":
        time.sleep(float(number))
        return
    call = account.calls[number]
    if verb == "answer":
        call.answer(param(200))
    elif verb == "hangup":
        call.hangup(param())
    elif verb == "update":
        call.update(param())
    elif verb == "hold":
        call.setHold(param())
    elif verb == "resume":
        again = param()
        again.opt.flag = pj.PJSUA_CALL_UNHOLD
        call.reinvite(again)


def settings(host: str, agent: str) -> Any:
    found = pj.AccountConfig()
    found.idUri = f"sip:carrier@{host}"
    found.sipConfig.proxies.append(f"sip:{agent};lr")
    found.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
    found.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
    found.callConfig.timerMinSESec = found.callConfig.timerSessExpiresSec = EXPIRES
    found.natConfig.contactRewriteUse = found.natConfig.viaRewriteUse = found.natConfig.sipOutboundUse = 0
    found.mediaConfig.transportConfig.boundAddress = host
    found.mediaConfig.transportConfig.port = 0
    return found


def main(listen: str, agent: str) -> None:
    host, _, port = listen.partition(":")
    config = pj.EpConfig()
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.logConfig.level = config.logConfig.consoleLevel = 1
    config.medConfig.clockRate = config.medConfig.sndClockRate = 8000
    config.medConfig.noVad, config.medConfig.ecTailLen = True, 0
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    endpoint.libInit(config)
    at = pj.TransportConfig()
    at.boundAddress, at.port = host, int(port)
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, at)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)
    account = Account()
    account.create(settings(host, agent))
    tell("", "up", 0)
    rest = b""
    while True:
        endpoint.libHandleEvents(10)
        while account.over:
            account.calls.pop(account.over.pop().number, None)
        if select.select([0], [], [], 0)[0]:
            if not (data := os.read(0, 4096)):
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                obey(account, agent, line.decode())
    os._exit(0)  # the library takes a second to end, and nothing is left to be said


if __name__ == "__main__":
    main(*sys.argv[1:])
