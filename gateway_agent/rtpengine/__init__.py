"""Media that passes rtpengine daemons (``media = "rtpengine"``) instead of the agent's own relay."""
