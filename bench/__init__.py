"""Compares agents: agents x tasks x seeds on a server, with tables, figures and a report.

A run has a folder. `plan.json` says what is to be played, `results.jsonl` what was played, and the rest is made from
these two. The journal of the server has the same episodes, so `results.jsonl` can be made again from it.
"""
