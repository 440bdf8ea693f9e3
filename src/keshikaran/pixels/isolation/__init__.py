"""Processes that decode, and how to talk to them: docs/isolation.md tells the whole of it.

`messages` is what is said, `confine` what a child may not do, `child` its loop, `zygote` the
process that forks children, `launch` the handle on it, `shared` and `piped` one child each as
the parent sees it. `keshikaran.pixels.isolated` puts them together.
"""
