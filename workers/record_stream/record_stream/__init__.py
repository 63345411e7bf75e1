"""Worker: records a stream from the web into S3 while it runs. See workers/record_stream/README.md."""
