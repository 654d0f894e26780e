"""STIR: who calls, signed by who knows (RFC 8224, RFC 8225, RFC 8588)."""
