"""Compare the native transport with its peers: `python -m benchmarks.transport --help`."""
