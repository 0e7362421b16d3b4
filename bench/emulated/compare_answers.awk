# Compares two outputs of bench/emulated/answer: whether the ids agree, and the
# share of kept positions that both have.
#   awk -f compare_answers.awk HERE EMULATED
FNR == NR && /^ids/ { ids = $0 }
FNR == NR && /^kept/ {
  for (i = 4; i <= NF; ++i) kept[$2, $3, $i] = 1
  next
}
/^ids/ && FNR != NR { same = $0 == ids; tokens = NF - 1 }
/^kept/ {
  for (i = 4; i <= NF; ++i) {
    ++total
    both += ($2, $3, $i) in kept
  }
}
END {
  printf "%d greedy tokens %s; %d of %d kept positions in both (%.2f %%)\n", \
      tokens, same ? "identical" : "DIFFER", both, total, 100 * both / total
}
