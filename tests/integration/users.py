"""Users of Cognito.

The emulator's API has no user pool. So the functions are invoked with events as API Gateway sends them for users.
"""

import json
import uuid

import httpx

from tests.integration.system import Item, System
from tests.rest import Answer, event, read
from tools.functions import Trigger, invoked_by

PLAN = json.dumps({"colour": "green"}).encode()
FUNCTIONS = {function.name: function.logical_id for function in invoked_by(Trigger.API)}


class User:
    """A user with an id of their own."""

    def __init__(self, system: System) -> None:
        self.id = str(uuid.uuid4())
        self._system = system

    def ask(self, function: str, route: str, body: object = None, **more: object) -> Answer:
        """Sends a request as this user. `more` is as for `tests.rest.event`."""
        asked = event(route, body, user=self.id, **more)  # type: ignore[arg-type] # as the caller says
        return read(asked, self._system.invoke(FUNCTIONS[function], asked))

    def job(self, job_id: str) -> Answer:
        return self.ask("get_job", "GET /jobs/{jobId}", path={"jobId": job_id})

    def uploaded(self, body: bytes = PLAN) -> Item:
        """Uploads a video by a presigned URL, and returns what told how."""
        wanted = {"filename": "clip.mp4", "contentType": "video/mp4", "size": len(body)}
        upload: Item = self.ask("presign_upload", "POST /uploads/presign", wanted).body
        answer = httpx.put(upload["url"], headers=upload["headers"], content=body, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        return upload
