"""Switchyard's API in Python.

```python
from switchyard_client import Switchyard

with Switchyard.from_stack("switchyard-dev") as switchyard:
    sent = switchyard.upload("clip.mp4")
    job = switchyard.wait(sent.job_id)
    switchyard.results(job, "results")
```

`AsyncSwitchyard` has the same methods for asyncio. Every route of the API is a method, named after its operationId.
"""

from switchyard_client._version import VERSION as __version__  # noqa: N811 - its usual name
from switchyard_client.access import ApiKey, Iam, Token
from switchyard_client.client import AsyncSwitchyard, Switchyard
from switchyard_client.errors import ApiError, SwitchyardError
from switchyard_client.retries import Retries
from switchyard_client.uploads import Journal, Uploaded

__all__ = [
    "ApiError",
    "ApiKey",
    "AsyncSwitchyard",
    "Iam",
    "Journal",
    "Retries",
    "Switchyard",
    "SwitchyardError",
    "Token",
    "Uploaded",
    "__version__",
]
