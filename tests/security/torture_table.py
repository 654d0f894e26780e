"""python -m tests.security.torture_table

Writes docs/torture.md from what tests/security/test_torture_kinds.py asks of an agent.
"""

from __future__ import annotations

from typing import Final

from examples.demo_processes import ROOT
from tests.security.test_torture_kinds import ANSWERS, KINDS

PAGE: Final = ROOT / "docs" / "torture.md"

RFC_4475: Final = {
    "wsinv": ("3.1.1.1", "take folded lines, odd spaces, compact names and leading zeros"),
    "intmeth": ("3.1.1.2", "accept any token characters in a method, and answer 501"),
    "esc01": ("3.1.1.3", "accept escapes in URIs, and pass them on unchanged"),
    "escnull": ("3.1.1.4", "accept %00 in a user: it is part of the name and does not end it"),
    "esc02": ("3.1.1.5", "accept % where it is not an escape: in methods and names of header fields"),
    "lwsdisp": ("3.1.1.6", "accept a display name directly before <"),
    "longreq": ("3.1.1.7", "take very long values, and more than thirty Vias"),
    "dblreq": ("3.1.1.8", "ignore what follows the message in a datagram"),
    "semiuri": ("3.1.1.9", "take a semicolon as part of the user"),
    "transports": ("3.1.1.10", "accept unknown transports in Via"),
    "mpart01": ("3.1.1.11", "frame by Content-Length, whatever bytes are in the body"),
    "unreason": (
        "3.1.1.12",
        "accept a reason phrase beyond ASCII; here the response matches no request, and is dropped",
    ),
    "noreason": ("3.1.1.13", "accept an empty reason phrase; here the response matches no request, and is dropped"),
    "badinv01": ("3.1.2.1", "400: separators with nothing between them"),
    "clerr": ("3.1.2.2", "400: Content-Length says more than there is"),
    "ncl": ("3.1.2.3", "an error: a negative Content-Length"),
    "scalar02": ("3.1.2.4", "400: a CSeq beyond 32 bits"),
    "scalarlg": ("3.1.2.5", "drop a response with numbers beyond their limits"),
    "quotbal": ("3.1.2.6", "400: a quote that does not end"),
    "ltgtruri": ("3.1.2.7", "400: a Request-URI in angle brackets"),
    "lwsruri": ("3.1.2.8", "400: a space in the Request-URI"),
    "lwsstart": ("3.1.2.9", "400 or tolerate: several spaces in the start line"),
    "trws": ("3.1.2.10", "400 or tolerate: a space at the end of the start line"),
    "escruri": ("3.1.2.11", "400: header fields in the Request-URI"),
    "baddate": ("3.1.2.12", "tolerate a Date in another zone than GMT"),
    "regbadct": ("3.1.2.13", "400: a Contact with a question mark and no brackets"),
    "badaspec": ("3.1.2.14", "400: spaces within the brackets of an address"),
    "baddn": ("3.1.2.15", "400: a name with a comma and no quotes"),
    "badvers": ("3.1.2.16", "505: another version of SIP"),
    "mismatch01": ("3.1.2.17", "400: another method in CSeq"),
    "mismatch02": ("3.1.2.18", "501 or 400: another method in CSeq, and an unknown one"),
    "bigcode": ("3.1.2.19", "drop a response with a status of many digits"),
}
"""Section, and what it asks, in our words."""
OURS: Final = {
    "3.2.1": "treat it as from an RFC 2543 client, and compare more than the branch",
    "3.3.1": "answer what can be answered; without these fields nothing can",
    "3.3.2": "416",
    "3.3.3": "416",
    "3.3.4": "take it: these fields are not looked at for routing",
    "3.3.5": "420 with Unsupported",
    "3.3.7": "leave credentials of an unknown kind out",
    "3.3.8": "400",
    "3.3.9": "400",
    "3.3.11": "answer OPTIONS all the same, or 483",
    "3.3.14": "leave the header field in the Contact alone",
    "3.4.1": "take it: no branch, no Max-Forwards",
    "4.1": "take it",
    "4.2": "400",
    "4.3": "take it: the port is a part of the address",
    "4.4": "take it",
    "4.5": "take received with brackets and without",
    "4.6": "take it",
    "4.8": "take it",
    "4.9": "take it",
    "4.10": "take it: three colons in a row are a known mistake",
}
"""By section: of RFC 4475 those with a 3 in front, the others of RFC 5118."""
_HEAD: Final = """# Messages that are hard to parse

This page shows what an agent answers to each message of RFC 4475 section 3.1, sent over UDP by a trunk's peer, and
to messages of the kinds in its sections 3.2 to 3.4 and in RFC 5118. None of them may stop or slow anything
(`tests/interop/test_bad_messages.py` sends them to real programs during a call).
`python -m tests.security.torture_table` writes this page from the tests.

| RFC, section | message | what the RFC wants | our answer |
| --- | --- | --- | --- |
"""


def _said(status: int) -> str:
    """For people."""
    return {0: "nothing", 100: "100, and the call is made"}.get(status, str(status))


def page() -> str:
    """The whole page."""
    rows = [
        f"| 4475, {section} | `{name}` | {asks} | {_said(ANSWERS[name])} |\n"
        for name, (section, asks) in RFC_4475.items()
    ]
    for kind, (_, status) in KINDS.items():
        section, _, what = kind.partition(" ")
        rfc = 4475 if section.startswith("3") else 5118
        rows.append(f"| {rfc}, {section} | {what} | {OURS[section]} | {_said(status)} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
