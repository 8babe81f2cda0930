"""The protocols of the transport, as their specifications say."""
