"""The key of an agent: how it is made, how it stands in a file, and who refuses which."""

from __future__ import annotations

import pytest

from heartbeat.agent_key import AgentKey, derive, fault_of, signer_of

SITE_KEY = b"the key of the site, thirty-two."
OWN = AgentKey("paris", "gw1", derive(SITE_KEY, "paris", "gw1"))


def test_it_is_made_as_documented() -> None:
    # printf 'holdfast agent paris gw1' | openssl dgst -sha256 -hmac 'the key of the site, thirty-two.'
    assert OWN.key.hex() == "19bd437915cbeb1a71ee3f0d97a3c6fcfeb0c695633a309e6ea97819782bf48f"
    assert len({derive(SITE_KEY, *names) for names in (("paris", "gw1"), ("paris", "gw2"), ("lyon", "gw1"))}) == 3


def test_it_stands_in_a_file_with_whose_it_is() -> None:
    assert OWN.text.startswith("agent:paris:gw1:") and "=" not in OWN.text
    assert AgentKey.parse(OWN.text.encode()) == OWN == AgentKey.parse(f" {OWN.text}\r\n".encode().lstrip())
    assert AgentKey.parse(SITE_KEY) is None
    assert signer_of(OWN.text.encode()) == (OWN.key, "gw1")
    assert signer_of(SITE_KEY) == (SITE_KEY, "")


@pytest.mark.parametrize(
    "text", ["agent:", "agent:paris:gw1", OWN.text[:-4], OWN.text + "AAAA", "agent:a:b:c:d", "agent:\u20ac"]
)
def test_half_of_one_is_no_site_key(text: str) -> None:
    with pytest.raises(ValueError, match="not whole"):
        AgentKey.parse(text.encode())
    assert fault_of(text.encode(), "paris", "gw1", False).startswith(
        "begins like the key of an agent, and is not whole"
    )
    assert fault_of(text.encode(), "paris", "m1", True) and signer_of(text.encode())[1] == ""


def test_each_node_takes_what_is_its_own() -> None:
    text = OWN.text.encode()
    assert fault_of(SITE_KEY, "paris", "m1", True) == fault_of(SITE_KEY, "paris", "gw1", False) == ""
    assert fault_of(text, "paris", "gw1", False) == ""
    assert fault_of(text, "paris", "m1", True).startswith("is the key of the agent gw1 alone: a server needs")
    assert "this is gw2 of paris: put that there which `b2bua agent-key gw2`" in fault_of(text, "paris", "gw2", False)
    assert "is the key of gw1 of the site paris" in fault_of(text, "lyon", "gw1", False)
