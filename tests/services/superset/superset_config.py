"""The settings of the tests' Superset: its own state in $SUPERSET_HOME, reached from this machine only. All else as it comes."""

import os

SECRET_KEY = "only-for-tests-on-this-machine-only-for-tests"
SQLALCHEMY_DATABASE_URI = "sqlite:///" + os.path.join(os.environ["SUPERSET_HOME"], "superset.db")
# Sends browsers to HTTPS, of which there is none here.
TALISMAN_ENABLED = False
