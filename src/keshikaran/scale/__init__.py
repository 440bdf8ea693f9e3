"""Featurizing and predicting on many machines, with Ray Data.

`listing` turns sources into `tasks`, `cluster` finds the machines and insists on a token, `running`
gives each task to a `worker` on one of them, which does its `jobs` on the `contents` and leaves the
rows as one Parquet file (`parquet`, `shards`).
`featurizing` and `predicting` know the order and what becomes of the rows.
"""
