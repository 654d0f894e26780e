"""Calls between browsers and what is none: their media ends in a process beside the agent, the WebRTC gateway. There
aiortc speaks with the browser (ICE, DTLS-SRTP), and plain RTP goes to the other side. The agent itself loads none of
it."""
