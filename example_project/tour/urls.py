from django.urls import path

from . import api, views

app_name = "tour"

urlpatterns = [
    path("", views.index, name="index"),
    path("healthz", views.healthz, name="healthz"),
    path("api/sales/<slug:slug>/", api.state, name="api-state"),
    path("api/sales/<slug:slug>/reserve", api.reserve, name="api-reserve"),
    path("<slug:slug>/", views.sale, name="sale"),
    path("<slug:slug>/reserve", views.reserve, name="reserve"),
    path("<slug:slug>/release", views.release, name="release"),
]
