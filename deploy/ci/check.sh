#!/bin/sh
# Run a load test without a UI, keep its record and its report, and end with its verdict: a step for any CI.
#
#   check.sh SLO_FILE RESULTS_FOLDER ARGUMENTS_OF_LOCUST...
#   check.sh slo.yaml results -f locustfile.py --host https://staging.example.com -u 50 -r 10 -t 30m
#
# Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration; any other code is Locust's
# own. RESULTS_FOLDER then has RUN_ID.jsonl.gz, junit.xml and report.html. You may set RUN_ID.
set -u

if [ $# -lt 3 ]; then
	echo "usage: $0 SLO_FILE RESULTS_FOLDER ARGUMENTS_OF_LOCUST..." >&2
	exit 78
fi
slo=$1
results=$2
shift 2
run_id=${RUN_ID:-ci-$(date -u +%Y-%m-%dT%H-%M-%SZ)-$$}
record=$results/$run_id.jsonl.gz
mkdir -p "$results" || exit 78
# Results of an earlier run must not be taken for those of this run.
rm -f "$record" "$results/junit.xml" "$results/report.html"

ran=0
locust-otel run --headless --only-summary --slo "$slo" --run-record "$results" "$@" --run-id "$run_id" || ran=$?
case $ran in
0 | 3 | 4 | 5) ;;
*) exit "$ran" ;;
esac

# Judge the record, so that the verdict is that of the run.
checked=0
locust-otel check "$record" --format junit --output "$results/junit.xml" || checked=$?
locust-otel report "$record" --output "$results/report.html" || echo "the report was not written" >&2
if [ "$ran" -eq 0 ]; then
	exit "$checked"
fi
exit "$ran"
