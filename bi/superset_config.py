"""Settings of the Superset of `make bi`: SQLite, one user, no browser tokens."""

import os

_HOME = os.environ["SUPERSET_HOME"]

SECRET_KEY = "only for a test that nobody else reaches"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME}/superset.db"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
FEATURE_FLAGS = {"DASHBOARD_VIRTUALIZATION": False}
