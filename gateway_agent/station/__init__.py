"""Stations: software telephones beside an agent, on pjsua2. Agents and servers import only ``password`` of it, and
only ``softphone`` imports pjsua2, whose licence is the GPL."""
