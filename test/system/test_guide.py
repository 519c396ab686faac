"""The guide docs/sql.md: its examples do what it shows, with an agent at work and without."""
import subprocess

import pytest

from stack import ROOT, FolderStore, Stack

pytestmark = pytest.mark.sql


@pytest.mark.parametrize("with_agent", [True, False], ids=["with an agent", "with PostgreSQL alone"])
def test_the_examples_of_the_guide_print_what_it_shows(with_agent):
    with Stack(FolderStore()) as stack:
        if with_agent:
            stack.start_agent()
        done = subprocess.run([ROOT / "tools/sql-guide", "--check", "-d", stack.postgres.conninfo("streamhouse")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
