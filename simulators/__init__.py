"""Test telemetry that speaks the wire format of `docs/protocol.md` and shares no code with the monitor."""
