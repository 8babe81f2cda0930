"""The fault table: what goes wrong with brokers, and what must arrive nevertheless."""
