"""Load this as a second locustfile where neither the locustfile nor the command can change.

    locust -f locustfile.py,PATH/TO/locust_otel/auto.py

Yours comes first: Locust names the run after the first.
"""

import locust_otel

locust_otel.register()
