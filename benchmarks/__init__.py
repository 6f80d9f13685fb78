"""What a request costs: CPU microseconds of all server processes, ours and references, in one run.

Run as ``python -m benchmarks``; README.md beside this file says what is measured, how, and which claims it supports.
"""
