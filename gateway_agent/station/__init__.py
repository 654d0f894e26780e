"""Stations: telephones that are programs beside an agent, on pjsua2. Agents and servers import none of it but
``password``, and only ``softphone`` imports pjsua2, whose licence is the GPL."""
