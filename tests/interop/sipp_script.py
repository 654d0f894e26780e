"""Scenarios of SIPp for what no ordinary peer can be made to do, written by what it hears and says, in order."""

from __future__ import annotations

from collections.abc import Sequence

_SDP = """v=0
o=sipp 4711 {version} IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio 40002 RTP/AVP 0
a=sendrecv
"""
_OURS = "Contact: <sip:sipp@[local_ip]:[local_port]>"


class Script:
    """Either is called (what it hears first is an INVITE) or calls (:meth:`calls`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._steps: list[str] = []
        self._kept: list[str] = []
        self._versions = 0
        self._calling = False

    def xml(self) -> str:
        """For ``sipp -sf``."""
        used = f'<Reference variables="{",".join(dict.fromkeys(self._kept))}"/>' if self._kept else ""
        steps = "\n".join(self._steps)
        head = f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="{self.name}">'
        return f"{head}\n{steps}\n{used}\n</scenario>\n"

    def waits(self, seconds: float) -> Script:
        self._steps.append(f'<pause milliseconds="{seconds * 1000:.0f}"/>')
        return self

    def calls(self, lines: Sequence[str] = ()) -> Script:
        """The first INVITE, to the number that SIPp is given."""
        self._calling = True
        head = [
            "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0", self._via(),
            *self._names("sip:[service]@[remote_ip]:[remote_port]"), "Call-ID: [call_id]", "CSeq: 1 INVITE", _OURS,
            "Max-Forwards: 70", *lines,
        ]  # fmt: skip
        return self._send(head, sdp=True, repeats=True)

    def hears(self, *wanted: str | int, optional: Sequence[int] = (), within: float = 0.0) -> Script:
        """Requests by method, responses by status, in that order. What is needed to answer a request is kept
        under its method; a later one of that method takes its place."""
        self._steps += [f'<recv response="{status}" optional="true"/>' for status in optional]
        limit = f' timeout="{within * 1000:.0f}"' if within else ""
        for one in wanted:
            if isinstance(one, int):
                record = ' rrs="true"' if one // 100 == 2 else ""
                self._steps.append(f'<recv response="{one}"{record}{limit}/>')
            else:
                self._steps.append(f'<recv request="{one}"{limit}>{self._keeping(one)}</recv>')
        return self

    def _keeping(self, method: str) -> str:
        found = [("Via:", ".*", f"via{method}"), ("CSeq:", ".*", f"cseq{method}")]
        if method == "INVITE" and "them" not in self._kept and not self._calling:
            found += [("From:", ".*", "them"), ("To:", ".*", "us"), ("Contact:", "sips?:[^&gt;[:cntrl:]]*", "target")]
        self._kept += [name for _, _, name in found]
        actions = "".join(
            f'<ereg regexp="{what}" search_in="hdr" header="{header}" check_it="true" assign_to="{name}"/>'
            for header, what, name in found
        )
        return f"<action>{actions}</action>"

    def answers(
        self, method: str, status: int, *, sdp: bool = False, tag: str = "", lines: Sequence[str] = ()
    ) -> Script:
        """The last request of that method that was heard. ``tag``: of another dialog than the usual one."""
        to = f"To: [$us];tag=[pid]{tag or 'b'}[call_number]" if not self._calling else "[last_To:]"
        who = f"From: [$them]\n{to}" if not self._calling else "[last_From:]\n[last_To:]"
        if not self._calling and method in ("BYE", "ACK", "INFO"):
            who = "[last_From:]\n[last_To:]"
        head = [
            f"SIP/2.0 {status} Said", f"Via:[$via{method}]", who, "[last_Call-ID:]", f"CSeq:[$cseq{method}]",
            _OURS, *lines,
        ]  # fmt: skip
        return self._send(head, sdp=sdp, repeats=method == "INVITE" and status >= 200)

    def asks(self, method: str, cseq: int, *, sdp: bool = False, repeats: bool = True, early: bool = False) -> Script:
        """A request in the dialog, or the ACK of that number."""
        if self._calling:
            target = "sip:[service]@[remote_ip]:[remote_port]" if early else "[next_url]"
            names = self._names("sip:[service]@[remote_ip]:[remote_port]", "[peer_tag_param]")
        else:
            target = "[$target]"
            names = ["From:[$us];tag=[pid]b[call_number]", "To:[$them]"]
        via = "[last_Via:]" if method == "ACK" and early else self._via()
        head = [f"{method} {target} SIP/2.0", via, *names, "Call-ID: [call_id]", f"CSeq: {cseq} {method}"]
        return self._send([*head, _OURS, "Max-Forwards: 70"], sdp=sdp, repeats=repeats and method != "ACK")

    def _via(self) -> str:
        return "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"

    def _names(self, called: str, tag: str = "") -> list[str]:
        own = '"sipp" <sip:+33100@[local_ip]:[local_port]>;tag=[pid]a[call_number]'
        return [f"From: {own}", f"To: <{called}>{tag}"]

    def _send(self, head: Sequence[str], *, sdp: bool, repeats: bool) -> Script:
        body = ""
        if sdp:
            self._versions += 1
            body = _SDP.format(version=self._versions)
        more = ["Content-Type: application/sdp"] if sdp else []
        text = "\n".join([*head, *more, f"Content-Length: {'[len]' if sdp else '0'}", "", body])
        again = ' retrans="500"' if repeats else ""
        self._steps.append(f"<send{again}><![CDATA[\n{text}\n]]></send>")
        return self
