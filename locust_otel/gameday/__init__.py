"""Game days: faults on a time line under load, and whether the alerts kept what was promised of them."""
