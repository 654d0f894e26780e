"""The call server: routing, the call table, takeover."""
