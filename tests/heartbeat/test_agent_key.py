"""The key of an agent: how it is made, how it stands in a file, and who refuses which."""

from __future__ import annotations

import pytest

from heartbeat.agent_key import BOTH, OWN, SITE, AgentKey, derive, fault_of, signer_of, sort_of

SITE_KEY = b"the key of the site, thirty-two."
GW1 = AgentKey("paris", "gw1", derive(SITE_KEY, "paris", "gw1"))


def test_it_is_made_as_documented() -> None:
    # printf 'holdfast agent paris gw1' | openssl dgst -sha256 -hmac 'the key of the site, thirty-two.'
    assert GW1.key.hex() == "19bd437915cbeb1a71ee3f0d97a3c6fcfeb0c695633a309e6ea97819782bf48f"
    assert len({derive(SITE_KEY, *names) for names in (("paris", "gw1"), ("paris", "gw2"), ("lyon", "gw1"))}) == 3


def test_it_stands_in_a_file_with_whose_it_is() -> None:
    assert GW1.text.startswith("agent:paris:gw1:") and "=" not in GW1.text
    assert AgentKey.parse(GW1.text.encode()) == GW1 == AgentKey.parse(f" {GW1.text}\r\n".encode().lstrip())
    assert AgentKey.parse(SITE_KEY) is None
    assert signer_of(GW1.text.encode()) == (GW1.key, "gw1")
    assert signer_of(SITE_KEY) == (SITE_KEY, "")


@pytest.mark.parametrize(
    "text", ["agent:", "agent:paris:gw1", GW1.text[:-4], GW1.text + "AAAA", "agent:a:b:c:d", "agent:\u20ac"]
)
def test_half_of_one_is_no_site_key(text: str) -> None:
    with pytest.raises(ValueError, match="not whole"):
        AgentKey.parse(text.encode())
    assert fault_of(text.encode(), "paris", "gw1", False).startswith(
        "begins like the key of an agent, and is not whole"
    )
    assert fault_of(text.encode(), "paris", "m1", True) and signer_of(text.encode())[1] == ""


def test_each_node_takes_what_is_its_own() -> None:
    text = GW1.text.encode()
    assert fault_of(SITE_KEY, "paris", "m1", True) == fault_of(SITE_KEY, "paris", "gw1", False) == ""
    assert fault_of(text, "paris", "gw1", False) == ""
    assert fault_of(text, "paris", "m1", True).startswith("is the key of the agent gw1 alone: a server needs")
    assert "this is gw2 of paris: put that there which `b2bua agent-key gw2`" in fault_of(text, "paris", "gw2", False)
    assert "is the key of gw1 of the site paris" in fault_of(text, "lyon", "gw1", False)


def test_what_an_agent_has_is_told() -> None:
    own = GW1.text.encode()
    assert [sort_of(each) for each in ((own,), (own, own))] == [OWN, OWN]
    assert [sort_of(each) for each in ((SITE_KEY,), (SITE_KEY, own), ())] == [SITE, SITE, SITE]
    assert sort_of((own, SITE_KEY)) == BOTH
