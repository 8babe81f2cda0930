"""Runs the application on machines: the list of nodes, what is written from it, the cluster's commands."""
