"""Where the speech model comes from: `SPEECH_MODEL`."""

import re
from pathlib import Path

from botocore.exceptions import ClientError

from analyze_video.settings import bad
from analyze_video.stage import StageFailed, Video

_FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "vocabulary.json", "preprocessor_config.json")
_NEEDED = 3  # of them, every model has the first three
_URI = re.compile(r"s3://([a-z0-9.-]{3,63})/(.*)")


def speech_model(video: Video) -> Path:
    """The folder of the speech model: a directory, a name under the models' folder, or a prefix in S3 that is copied.

    Raises:
        Skipped: it isn't installed.
        StageFailed: S3 doesn't have its files.
        PermanentFailure: the setting is malformed.
    """
    told = video.settings.speech.model
    if told.startswith("s3://"):
        return _copied(video, told)
    if Path(told).is_absolute():
        if not Path(told).is_dir():
            raise StageFailed("NO_MODEL", "the directory that SPEECH_MODEL names doesn't exist")
        return Path(told)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", told):
        raise bad("SPEECH_MODEL must be a model's name, an absolute directory or an S3 URI")
    return video.model(told)


def _copied(video: Video, uri: str) -> Path:
    """Copy a model from S3. It needs its size in scratch space, which on Batch is memory."""
    matched = _URI.fullmatch(uri)
    if not matched:
        raise bad("SPEECH_MODEL isn't an S3 URI: s3://bucket/prefix")
    bucket, prefix = matched[1], matched[2].rstrip("/")
    folder = video.folder / "speech-model"
    folder.mkdir()
    for number, name in enumerate(_FILES):
        video.job.checkpoint()
        try:
            video.job.s3.download_file(bucket, f"{prefix}/{name}".lstrip("/"), str(folder / name))
        except ClientError as error:
            if number >= _NEEDED and error.response["Error"]["Code"] in {"404", "403", "NoSuchKey"}:
                continue  # models have the one or the other
            raise StageFailed("NO_MODEL", f"SPEECH_MODEL: S3 doesn't have {name}, or refuses it") from error
    return folder
