# SPDX-License-Identifier: Apache-2.0
"""docs/token-faults.md against the code: every C_ function that the token layer and the programs call is in
the table, with every class of errors and every state of a token that the matrix' test has, and with an answer
of each token. Usage: faults.py ROOT
"""
import ast
import re
import sys

from common import Report, files, read, without_comments

MATRIX = 'tests/integration/test_token_fault_matrix.py'
TABLE = 'docs/token-faults.md'
IMPLIED = {'C_Initialize', 'C_Finalize'}  # p11-kit calls them for us


def called(root):
    """function → a file that calls it"""
    found = {}
    for name in files(root, '.c'):
        if name.startswith(('pkcs11/', 'daemon/', 'tools/')) and not name.startswith('tools/benchmarks/'):
            for function in re.findall(r'(?:MM_CK\(\s*[^,()]+,\s*|->ck->)(C_\w+)\(', without_comments(read(root, name))):
                found.setdefault(function, name)
    return found


def faults(root):
    """What each function is tried with: the values of the test's RETURNS and STATES."""
    tree = ast.parse(read(root, MATRIX))
    values = {node.targets[0].id: node.value for node in tree.body
              if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    return [text for name in ('RETURNS', 'STATES') for text in ast.literal_eval(values[name]).values()]


def rows(root):
    """(function, fault) → the answers"""
    found = {}
    for line in read(root, TABLE).splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith('| C_'):
            found[cells[0], cells[1]] = cells[-3:]
    return found


def main(root):
    report = Report('faults')
    functions, table = called(root), rows(root)
    for function in sorted({*functions, *IMPLIED}):
        for fault in faults(root):
            answers = table.get((function, fault))
            if not answers:
                report.bad(functions.get(function, 'p11-kit'), f'{function} is called; {TABLE} has no row for "{fault}"')
            elif 'not tried' in answers or '' in answers:
                report.bad(TABLE, f'{function}, {fault}: not tried on every token')
    for function in sorted({function for function, _ in table} - {*functions, *IMPLIED}):
        report.bad(TABLE, f'{function} is called no more')
    report.end(len(table))


if __name__ == '__main__':
    main(sys.argv[1])
