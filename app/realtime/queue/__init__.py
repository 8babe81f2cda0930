"""The queue between nodes: numbered messages over several brokers, repaired by the nodes themselves.

`exchange.py` is the conversation, `channel.py` the IO around it; docs/architecture.md follows a message.
"""
