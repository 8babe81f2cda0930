"""Programs for developers; see the Makefile."""
