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
[[ -z "$REPORT" ]] && refuse "expected a directory for the report, found none"

if [[ -n "$FILE" ]]; then
  command=(verify)
else
  command=(release "--format=$FORMAT")
fi
# with =, so that no value is taken for an option
command+=("--depth=$DEPTH")
[[ -n "$TEXT" ]] && command+=("--text=$TEXT")
[[ -n "$POLICY" ]] && command+=("--policy=$POLICY")
[[ -n "$BASELINE" ]] && command+=("--baseline=$BASELINE")
[[ -n "$SIGN_KEY" ]] && command+=("--sign-key=$SIGN_KEY")
while IFS= read -r argument; do
  [[ -n "$argument" ]] && command+=("$argument")
done <<<"$ARGUMENTS"

# nothing of an earlier run's report may be taken for this one's
names=(report.json report.html junit.xml attestation.json summary.md report.sig)
for name in "${names[@]}"; do
  for input in "$SOURCE" "$FILE" "$OUT" "${command[@]}" "${command[@]#*=}"; do
    [[ "$REPORT/$name" -ef "$input" ]] && refuse "report: expected a place for it alone, found an input as its $name"
  done
done
for name in "${names[@]}"; do
  rm -f -- "$REPORT/$name" || refuse "report: expected an earlier $name or nothing, found what cannot be removed"
done
export-and-verify "${command[@]}" "--report=$REPORT" -- "$SOURCE" "$FILE$OUT"
status=$?
verdict=error
if [[ $status == [01] ]]; then
  # a command that was made to print its help, say, has judged nothing, and ends with 0 as well
  verdict=$(sed -n 's/^  "verdict": "\(.*\)",\{0,1\}$/\1/p' -- "$REPORT/report.json")
  [[ $status$verdict == 0pass || $status$verdict == 1fail ]] || refuse "expected a report of this run, found none"
fi
echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
if [[ -f "$REPORT/summary.md" ]]; then
  cat -- "$REPORT/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
exit $status
