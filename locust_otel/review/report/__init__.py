"""Reports of a run record: a page in HTML, Markdown, JSON, and samples for a Prometheus that was not running."""
