"""The media of an agent: none passes through it (``direct``), or all passes its relay, a separate process
(``relay``)."""
