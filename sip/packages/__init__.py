"""Event packages (RFC 6665): the bodies of SUBSCRIBE and NOTIFY, each once, to values and back."""
