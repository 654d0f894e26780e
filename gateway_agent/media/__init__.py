"""What an agent does with media: nothing (``direct``), or its own relay in a process of its own (``relay``)."""
