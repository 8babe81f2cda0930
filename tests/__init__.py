"""Tests: unit (no server), integration (real servers), e2e (a real browser)."""
