"""A worker of your own: saves the SHA-256 of an uploaded file. docs/your-own-worker.md explains it."""

import hashlib
import sys

from switchyard_worker import PermanentFailure, WorkerJob, run


def main(job: WorkerJob) -> dict[str, object]:
    """Hash the upload, save the digest, return what the job's result should show."""
    upload = job.s3.get_object(**job.environment.source)
    size, done, digest = upload["ContentLength"], 0, hashlib.sha256()
    if size == 0:
        raise PermanentFailure("EMPTY_FILE", "the file is empty")
    for block in upload["Body"].iter_chunks(2**20):
        digest.update(block)
        done += len(block)
        job.progress(100 * done / size, f"hashed {done:,} of {size:,} bytes")
    job.save("sha256.txt", f"{digest.hexdigest()}\n".encode())
    return {"sha256": digest.hexdigest(), "bytes": size}


if __name__ == "__main__":
    sys.exit(run(main, needs=("S3_KEY",)))
