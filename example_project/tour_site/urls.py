from django.contrib import admin
from django.urls import include, path

admin.site.site_header = admin.site.site_title = "Box office"
admin.site.index_title = "The Slow Comets"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("tour.urls")),
]
