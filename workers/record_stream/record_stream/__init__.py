"""Records a stream from the web into S3 while it is running: see workers/record_stream/README.md."""
