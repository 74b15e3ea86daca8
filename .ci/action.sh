#!/usr/bin/env bash
# What action.yml runs: one command by its inputs, its verdict as an output, its summary on the job's page.
set -uo pipefail

refuse() {
  echo "::error::$1"
  echo "verdict=error" >>"$GITHUB_OUTPUT"
  exit 2
}

[[ -n "$FILE" && -n "$OUT" ]] && refuse "expected one of file and out, found both"
[[ -z "$FILE" && -z "$OUT" ]] && refuse "expected one of file and out, found neither"
[[ -n "$OUT" && -z "$FORMAT" ]] && refuse "expected a format to release as, found none"

if [[ -n "$FILE" ]]; then
  command=(verify "$SOURCE" "$FILE")
else
  command=(release "$SOURCE" "$OUT" --format "$FORMAT")
fi
command+=(--depth "$DEPTH" --report "$REPORT")
[[ -n "$TEXT" ]] && command+=(--text "$TEXT")
[[ -n "$POLICY" ]] && command+=(--policy "$POLICY")
[[ -n "$BASELINE" ]] && command+=(--baseline "$BASELINE")
while IFS= read -r argument; do
  [[ -n "$argument" ]] && command+=("$argument")
done <<<"$ARGUMENTS"

# a summary of an earlier run must not be shown as this one's
rm -f "$REPORT/summary.md"
export-and-verify "${command[@]}"
status=$?
case $status in
  0) verdict=pass ;;
  1) verdict=fail ;;
  *) verdict=error ;;
esac
echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
if [[ -f "$REPORT/summary.md" ]]; then
  cat "$REPORT/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
exit $status
