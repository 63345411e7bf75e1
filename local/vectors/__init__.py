"""A local stand-in for Amazon S3 Vectors: buckets, indexes, vectors and queries, with its limits and errors.

It is served by the process of `local.compute`, next to Batch and ECS. Shapes come from botocore's model, limits from
the Amazon S3 user guide, "Limitations and restrictions" of S3 Vectors. AWS doesn't document the analyzer of full-text
search, nor the constants of BM25 and of the fusion: those here are Lucene's and those of the paper on reciprocal rank
fusion.

- `service`: the operations
- `store`: what survives restarts, in SQLite
- `table`: an index in memory: vectors as one matrix, metadata by value
- `filters`: metadata filters
- `fulltext`: BM25
"""
