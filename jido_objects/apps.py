"""The Django app. ``ready`` runs in every command and in the reloader's parent: it starts nothing."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.module_loading import autodiscover_modules


def _app_label_of(module: str) -> str | None:
    config = apps.get_containing_app_config(module) if apps.apps_ready else None
    return config.label if config is not None else None


class JidoObjectsConfig(AppConfig):
    """Durable objects for Django."""

    name = "jido_objects"
    label = "jido_objects"
    verbose_name = "Durable objects"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, conf, process, router
        from .definition import Definition
        from .refs import route_with
        from .testing import environment

        Definition.app_label_of = staticmethod(_app_label_of)
        route_with(router.router)
        process.configure_with(conf.read, before_start=environment.take_part)
        checks.register()
        autodiscover_modules("objects")
