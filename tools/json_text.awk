# Prints the "text" of a report of "dapple --json": one JSON object a line. A
# fresh machine has neither jq nor, always, Python.

{
  # Inside of a string a quote is escaped, so this is the key and no text.
  at = index($0, "\"text\":\"")
  if (at == 0) next
  out = ""
  for (i = at + 8; (c = substr($0, i, 1)) != "\"" && c != ""; ++i) {
    if (c != "\\") {
      out = out c
      continue
    }
    c = substr($0, ++i, 1)
    if (c == "n") c = "\n"
    else if (c == "t") c = "\t"
    else if (c == "u") {  # control characters alone: nothing to show
      i += 4
      c = ""
    } else if (c == "r" || c == "b" || c == "f") c = ""
    out = out c
  }
  sub(/\n+$/, "", out)
  print out
}
