"""Calls between browsers and other devices: their media passes the WebRTC gateway, a separate process in which aiortc
terminates ICE and DTLS-SRTP of the browser and sends plain RTP to the other side. The agent does not load aiortc."""
