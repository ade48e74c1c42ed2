"""Django settings of one host process. The supervisor passes what differs in ``JIDO_FAULTS``, as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

_given: dict[str, Any] = json.loads(os.environ["JIDO_FAULTS"])

SECRET_KEY = "a key for tests, of no use anywhere else"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "jido_objects", "tests.faults"]
DATABASES = {"default": _given["database"]}
JIDO_OBJECTS = _given["objects"]
