"""An embedded backend to try Mimic on: token service, chat, embeddings, models and more, with scripted faults.

It stands apart: it imports nothing of the proxy, and only the command line imports it.
"""
