"""Second locustfile that registers locust-otel if neither your locustfile nor the command `locust` can change.

    locust -f locustfile.py,PATH/TO/locust_otel/auto.py

Put your locustfile first: Locust names the run after it.
"""

import locust_otel

locust_otel.register()
