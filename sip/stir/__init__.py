"""STIR/SHAKEN: signed caller identity (RFC 8224, RFC 8225, RFC 8588)."""
