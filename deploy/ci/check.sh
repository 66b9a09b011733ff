#!/bin/sh
# Run a load test without a UI, keep its results, and end with its verdict: a step for any CI.
#
#   check.sh SLO_FILE RESULTS_FOLDER ARGUMENTS_OF_LOCUST...
#   check.sh slo.yaml results -f locustfile.py --host https://staging.example.com -u 50 -r 10 -t 30m
#
# Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration; any other code is Locust's
# own. RESULTS_FOLDER has Locust's files and junit.xml then.
set -u

if [ $# -lt 3 ]; then
	echo "usage: $0 SLO_FILE RESULTS_FOLDER ARGUMENTS_OF_LOCUST..." >&2
	exit 78
fi
slo=$1
results=$2
shift 2
mkdir -p "$results" || exit 78
# What an earlier run has left must not be judged for this one.
rm -f "$results/run.json" "$results/junit.xml"

ran=0
locust-otel run --headless --only-summary --slo "$slo" --csv "$results/run" --json-file "$results/run" "$@" || ran=$?
case $ran in
0 | 3 | 4 | 5) ;;
*) exit "$ran" ;;
esac

checked=0
locust-otel check --slo "$slo" --json-file "$results/run" --format junit --output "$results/junit.xml" || checked=$?
# Both must be content: the run has left the warm-up out, the check has read what is kept.
if [ "$ran" -ne 0 ]; then
	exit "$ran"
fi
exit "$checked"
