#!/usr/bin/python3
"""lint.py RULE: prints where the project breaks one of its own rules, one place a line, and nothing when it does not.

Rules are the functions below whose names begin with `find_`; without an argument their names are listed.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 80
FILE_LINES_MAX = 600
BANNED = re.compile(r"\b(strcpy|stpcpy|strcat|strncat|sprintf|vsprintf|atoi|atol|atoll|atof|gets|strtok)\s*\(")
UNDONE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def files(*suffixes):
    """The project's files with these suffixes, committed or about to be."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE,
                            check=True, text=True).stdout
    return [ROOT / name for name in sorted(set(listed.split("\n")))
            if name and (ROOT / name).is_file() and (not suffixes or Path(name).suffix in suffixes)]


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def show(path, line, what):
    print(f"{path.relative_to(ROOT)}:{line}: {what}")


def without_comments(text):
    """C text with comments and string contents blanked, line numbers kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def find_long_functions():
    for path in files(".c", ".h"):
        opened = None
        for number, line in enumerate(text_of(path).split("\n"), 1):
            if line.startswith("{"):
                opened = number
            elif line.startswith("}") and opened:
                if number - opened - 1 > FUNCTION_LINES_MAX:
                    show(path, opened, f"a function of {number - opened - 1} lines; {FUNCTION_LINES_MAX} are the limit")
                opened = None


def find_long_files():
    for path in files(".c", ".h", ".py", ".sh", ".js", ".java"):
        count = text_of(path).count("\n")
        if count > FILE_LINES_MAX:
            show(path, count, f"the file is longer than {FILE_LINES_MAX} lines")


def find_banned_functions():
    for path in files(".c", ".h"):
        for number, line in enumerate(without_comments(text_of(path)).split("\n"), 1):
            for found in BANNED.finditer(line):
                show(path, number, f"{found[1]}() is banned")


def find_version_numbers():
    """compat.h is the one place that knows how PostgreSQL's versions differ."""
    for path in files(".c", ".h"):
        if path.relative_to(ROOT).as_posix() != "src/compat.h":
            for number, line in enumerate(without_comments(text_of(path)).split("\n"), 1):
                if "PG_VERSION_NUM" in line:
                    show(path, number, "PG_VERSION_NUM belongs in src/compat.h")


def find_undone_work():
    for path in files(".c", ".h", ".py", ".sh", ".sql", ".js", ".java", ".md", ".mk", ""):
        if path.name == "lint.py":
            continue
        for number, line in enumerate(text_of(path).split("\n"), 1):
            if UNDONE.search(line):
                show(path, number, "work left undone")


def makefile_words(name):
    """What a variable of the Makefile comes to."""
    printed = subprocess.run(["make", "-s", "--eval", f"words: ; @echo $({name})", "words"], cwd=ROOT,
                             stdout=subprocess.PIPE, check=True, text=True).stdout
    return set(printed.split())


# Tests that a program of their own runs, which a stage must run and which must name them.
PROGRAMS = {"test/model/compare.sql": "test/model/run", "test/system/store_faults.c": "test/system/store_faults",
            "test/system/store_server.c": "test/system/store_faults"}


def is_run_by_program(name, stages):
    program = PROGRAMS.get(name)
    return program is not None and program in stages and Path(name).stem in text_of(ROOT / program)


def find_tests_nobody_runs():
    """A test that no stage runs proves nothing. (The regress stage runs sql/preload_* itself, and PROGRAMS.)"""
    stages = "".join(text_of(stage) for stage in (ROOT / "scripts/stages").iterdir())
    for folder, suffix, variable in (("sql", ".sql", "REGRESS"), ("specs", ".spec", "ISOLATION")):
        named = makefile_words(variable)
        for path in files(suffix):
            relative = path.relative_to(ROOT)
            if relative.parts[0] not in (folder, "test") or is_run_by_program(relative.as_posix(), stages):
                continue
            if path.stem not in named and not (path.stem.startswith("preload_") and folder == "sql"):
                show(path, 1, f"is not in the Makefile's {variable}")
    places = {"test/unit": "_test.c", "test/fuzz": "_fuzz.c"}
    for path in files(".c"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] != "test" or relative.as_posix() == "test/unit/test.c":
            continue
        if is_run_by_program(relative.as_posix(), stages):
            continue
        ending = places.get(relative.parent.as_posix())
        if "TEST(" in text_of(path) or "LLVMFuzzerTestOneInput" in text_of(path):
            if not ending or not path.name.endswith(ending):
                show(path, 1, "build.mk does not find this test: its name or its folder is another")
    for path in files(".py"):
        relative = path.relative_to(ROOT)
        if re.search(r"^def test_", text_of(path), re.MULTILINE):
            if relative.parent.as_posix() not in ("test/system", "test/clients", "test/chaos") or not path.name.startswith("test_"):
                show(path, 1, "no stage collects the tests in this file")


def find_expectations_without_test():
    named = makefile_words("REGRESS") | makefile_words("ISOLATION")
    for path in files(".out"):
        stem = path.stem
        known = stem in named or re.sub(r"_\d+$", "", stem) in named or (ROOT / "sql" / f"{stem}.sql").exists()
        if path.relative_to(ROOT).parts[0] == "expected" and not known:
            show(path, 1, "belongs to no test")


def find_uncommented_openings():
    """A file opens with its story."""
    for path in files(".c", ".h"):
        if not text_of(path).lstrip().startswith(("/*", "//")):
            show(path, 1, "does not open with its story")


RULES = {name[len("find_"):]: rule for name, rule in sorted(globals().items()) if name.startswith("find_")}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RULES:
        sys.exit("\n".join(RULES))
    RULES[sys.argv[1]]()
