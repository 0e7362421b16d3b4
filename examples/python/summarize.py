#!/usr/bin/env python3
"""Summarizes a text in its own sentences: summarize.py MODEL DOCUMENT [MIB]"""

import sys

import dapple


def main(arguments):
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[1], encoding="utf-8") as file:
        text = file.read()
    ram = int(arguments[2]) << 20 if len(arguments) == 3 else 0
    with dapple.Model(arguments[0]) as model:
        prompt = model.chat(text + "\n\nSummarize the text above.")
        plan = model.plan(len(prompt), ram_bytes=ram)
        print(
            f"{len(prompt)} tokens, {plan.total_bytes / 2**20:.1f} MiB of memory: "
            + plan.text.decode(),
            file=sys.stderr,
        )
        with model.session(prompt, ram_bytes=ram) as session:
            session.quote(text)
            for sentence in session.answer():
                print(sentence)
            report = session.report()
    print(
        f"kept {100 * report['kept_share']:.1f} %; memory planned "
        f"{report['planned_bytes'] / 2**20:.1f}, measured "
        f"{report['peak_bytes'] / 2**20:.1f} MiB",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"summarize: {error}")
    except dapple.DappleError as error:
        print(f"summarize: {error}", file=sys.stderr)
        sys.exit(3 if error.code == 5 else 1)
