"""PromQL, rules and export formats of an SLO file."""
