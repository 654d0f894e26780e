"""The gateway agent: lines and their devices, and the hand-over of their calls."""
