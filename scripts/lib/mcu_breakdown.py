"""Where the flash of an ELF goes: bytes of .text by crate and by function, inlined code counted where it was written.

usage: mcu_breakdown.py ELF [LINES]     needs llvm-objdump and llvm-symbolizer, and line tables in the ELF
Code of `core` and of small helper crates counts for whoever called it.
"""

import collections
import re
import subprocess
import sys

HELPERS = {"core", "other", "typenum", "hybrid-array", "subtle", "zeroize", "heapless"}


def crate(path):
    for pattern in (
        r"/registry/src/[^/]*/(.+?)-\d+\.\d+\.\d+[^/]*/",
        r"/((?:protocol|lock)/\w+)(?:/\.\.)*/src/",
        r"library/(core)/",
        r"(compiler.builtins)",
    ):
        if found := re.search(pattern, path):
            return found.group(1)
    return "other"


def output(command, text=None):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main(elf, lines):
    listing = output(["llvm-objdump", "-d", "--no-show-raw-insn", elf])
    addresses = sorted(int(at, 16) for at in re.findall(r"^\s*([0-9a-f]+):\s", listing, re.M))
    symbols = output(
        ["llvm-symbolizer", "--obj=" + elf, "--inlining", "--demangle", "--output-style=LLVM"],
        "\n".join(map(hex, addresses)),
    )
    crates, functions = collections.Counter(), collections.Counter()
    for at, after, block in zip(addresses, [*addresses[1:], addresses[-1] + 2], symbols.strip().split("\n\n")):
        text = block.split("\n")
        frames = list(zip(text[::2], text[1::2])) or [("?", "?")]
        function, path = next((f for f in frames if crate(f[1]) not in HELPERS), frames[0])
        size = min(after - at, 4)  # a gap is data or padding
        crates[crate(path)] += size
        functions[crate(path), function] += size
    for name, size in crates.most_common(lines):
        print(f"| {name} | {size} |")
    print(f"| all of .text | {sum(crates.values())} |\n")
    for (name, function), size in functions.most_common(lines):
        print(f"{size:6} {name}: {function[:140]}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40)
