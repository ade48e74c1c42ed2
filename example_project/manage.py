#!/usr/bin/env python
"""The example project's command line: `manage.py demo` runs it, `manage.py storm` puts it under load."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tour_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
