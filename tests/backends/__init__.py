"""The real servers the tests run against: fetched, started and asked."""
