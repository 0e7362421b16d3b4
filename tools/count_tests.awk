# Reads meson's testlog.txt; prints one line a test, then "N passed, N failed".
# `status` is what "meson test" returned. A doctest binary counts as its test
# cases, any other test as one; one that crashed, was killed or never got to
# its summary counts as at least one failed. Cases that a binary left out (by a
# filter, or on an emulated processor) are said on its line.

function finish() {
  if (name == "") return
  if (result == "skipped") {
    printf "%-32s skipped\n", name
    name = ""
    return
  }
  if (!doctest && result == "good") passed = 1
  if (result != "good" && failed == 0) failed = 1
  # A run without a single case is not a success: a filter hid them, say.
  if (passed + failed == 0) failed = 1
  printf "%-32s %5d passed  %3d failed%s%s\n", name, passed, failed, \
      left_out == 0 ? "" : sprintf("  %3d left out", left_out), \
      result == "good" ? "" : "  (" detail ")"
  total_passed += passed
  total_failed += failed
  name = ""
}

{ gsub(/\033\[[0-9;]*m/, "") }

/^=+ [0-9]+\/[0-9]+ =+$/ {
  finish()
  header = 1
  next
}
header && /^test: / {
  name = substr($0, 7)
  sub(/^ +/, "", name)
  passed = 0
  failed = 0
  left_out = 0
  doctest = 0
  result = "bad"
  detail = "no result"
}
header && /^result: / {
  detail = substr($0, 9)
  sub(/^ +/, "", detail)
  if (detail ~ /^exit status 0( |$)/) result = "good"
  if (detail ~ /^exit status 77( |$)/) result = "skipped"
}
# The test's own output follows, and may say anything.
/^-+ (stdout|stderr) -+$/ { header = 0 }
!header && /^\[doctest\] test cases:/ {
  doctest = 1
  split($0, part, "|")
  passed += part[2]
  failed += part[3]
  left_out += part[4]
}

END {
  finish()
  if (status != 0 && total_failed == 0) total_failed = 1
  printf "%d passed, %d failed\n", total_passed, total_failed
  exit total_failed > 0 || total_passed == 0
}
