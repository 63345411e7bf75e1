"""Every accepted shape becomes its jobs; what can't be processed is told with its reason and harms nothing else."""

import json
import uuid
from dataclasses import dataclass

import pytest

from local.environment import ROOT
from tests.integration.system import Item, System
from tests.integration.test_duplicates import environment

SHAPES = {
    "s3_put": ["My holiday (100%) + sun.mp4"],
    "s3_multipart_upload_versioned": ["match.mkv"],
    "s3_several_records": ["first.mp4", "it's a \"quote\" 🎬.mov", "second.mp4"],
    "sns_wrapped": ["clip one.mp4"],
    "eventbridge_object_created": ["raw key + 100%20 stays & 🎬.mp4"],
    "backend_video_uploaded": ["lecture 4 (final).mp4"],
    "plain_bucket_key": ["tape 12.avi"],
    "job_message": ["0007.mkv"],
    "video_id_attribute": ["0001.mp4"],
}
